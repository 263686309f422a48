/* Keeps the page true while the buyer pays.

   It listens on a WebSocket, waits on /status where sockets do not pass, and polls where nothing can wait.
   All of them only say that there is a newer version; what the page looks like is drawn by the server and
   swapped in. Whenever the page wakes (shown again, restored, online), it asks at once. */

(() => {
  "use strict";

  const WAIT_S = 25; // how long /status may hold its answer
  const SOCKET_SPEAKS_WITHIN_MS = 4000;
  const SOCKET_AGAIN_AFTER_TURNS = 20;
  const SOCKET_DOUBTED_EVERY_MS = 60000; // a socket that died on its way does not tell anybody
  const LONGEST_PAUSE_MS = 15000;
  const FOLLOW_A_FINAL_STATE_MS = 10 * 60 * 1000; // money that came twice is still being returned

  const checkout = () => document.getElementById("checkout");
  const base = checkout().dataset.base;

  let shown = Number(checkout().dataset.version); // the version that is drawn
  let heard = shown; // the newest version that we know of
  let ahead_ms = Number(checkout().dataset.now) - Date.now(); // the server's clock before ours
  let finalSince = checkout().hasAttribute("data-final") ? Date.now() : null;
  let problem = ""; // what the last press of a button came to; it stands until the next
  let drawing = null;
  let drawOnceMore = false;
  let drawnAt = Date.now();
  let turn = new AbortController(); // what is being waited for; a wake ends it

  const pace_ms = () => Number(checkout().dataset.pace || 0) * 1000; // nothing happens sooner: a slip
  const jittered = (ms) => ms * (0.5 + Math.random());
  const pauseAfter = (troubles) => jittered(Math.min(500 * 2 ** troubles, LONGEST_PAUSE_MS));
  const finished = () => finalSince !== null && Date.now() - finalSince > FOLLOW_A_FINAL_STATE_MS;

  function rest(ms, signal) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      signal?.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
    });
  }

  async function get(path, limit_ms, signal) {
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort(), limit_ms);
    signal?.addEventListener("abort", () => limit.abort(), { once: true });
    try {
      const response = await fetch(base + path, { cache: "no-store", signal: limit.signal });
      if (!response.ok) throw new Error(`${path}: ${response.status}`);
      return await response.text();
    } finally {
      clearTimeout(timer);
    }
  }

  /* Drawing */

  function draw() {
    drawOnceMore = drawing !== null;
    drawing ??= drawUntilDone().finally(() => { drawing = null; });
  }

  async function drawUntilDone() {
    for (let tries = 0; tries < 8; tries += 1) {
      if (tries > 1) await rest(pauseAfter(tries));
      drawOnceMore = false;
      const query = problem ? `?problem=${encodeURIComponent(problem)}` : "";
      try {
        put(await get(`/fragment${query}`, 10000));
        if (!drawOnceMore && shown >= heard) return;
      } catch {
        // The next try, or whatever wakes the page next, will do.
      }
    }
  }

  function put(html) {
    const next = new DOMParser().parseFromString(html, "text/html").getElementById("checkout");
    const version = Number(next?.dataset.version);
    drawnAt = Date.now();
    if (!(version >= shown)) return; // an older answer that was overtaken on its way
    const before = checkout();
    const turned = before.dataset.kind !== next.dataset.kind;
    const focus = focusable(before).indexOf(document.activeElement);
    const open = before.querySelector("details[open]") !== null;
    shown = version;
    heard = Math.max(heard, version);
    ahead_ms = Number(next.dataset.now) - Date.now();
    if (!next.hasAttribute("data-final")) finalSince = null;
    else if (finalSince === null) finalSince = Date.now();
    before.replaceWith(next);
    document.dispatchEvent(new Event("checkout-drawn"));
    document.title = next.dataset.title.trim();
    if (open && !turned) next.querySelector("details")?.setAttribute("open", "");
    refocus(next, focus, turned);
    if (told(next) !== told(before)) document.getElementById("say").textContent = told(next);
    tick();
    if (turned) {
      const from = before.dataset.kind;
      document.dispatchEvent(new CustomEvent("checkout-turned", { detail: { from } }));
    }
    if (next.dataset.again) setTimeout(draw, Number(next.dataset.again) * 1000);
  }

  // What somebody who cannot see the page must hear when it changes.
  function told(drawn) {
    return [...drawn.querySelectorAll("h2, .notice, .steps")].map((part) => part.textContent.trim()).join(" ");
  }

  function focusable(drawn) {
    return [...drawn.querySelectorAll("h2, a, button, summary")];
  }

  // Whoever was on something that is there no more goes on at the heading that took its place.
  function refocus(next, position, turned) {
    if (position < 0) return;
    const heading = next.querySelector("h2");
    heading?.setAttribute("tabindex", "-1");
    const same = turned ? heading : focusable(next)[position];
    (same ?? heading)?.focus({ preventScroll: true });
  }

  /* Clocks */

  function clock(ms) {
    const seconds = Math.max(0, Math.floor(ms / 1000));
    const two = (number) => String(number).padStart(2, "0");
    const hours = Math.floor(seconds / 3600);
    const rest = `${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
    return hours ? `${hours}:${rest}` : rest;
  }

  function tick() {
    const now = Date.now() + ahead_ms;
    for (const time of document.querySelectorAll("[data-countdown]")) {
      time.textContent = clock(Number(time.dataset.countdown) - now);
    }
    const until = Number(checkout().dataset.until || Infinity);
    if (now > until + 300 && Date.now() - drawnAt > 2000) draw();
  }

  /* Listening, waiting, polling */

  function learn(text) {
    heard = Math.max(heard, Number(JSON.parse(text).version) || 0);
    if (heard > shown) draw();
  }

  async function ask(wait_s, signal) {
    learn(await get(`/status?version=${heard}&wait=${wait_s}`, (wait_s + 8) * 1000, signal));
  }

  // Resolves when the socket has ended, and says whether it ever spoke.
  function listen(signal) {
    return new Promise((resolve) => {
      const url = new URL(`${base}/ws`, location.href);
      url.protocol = url.protocol.replace("http", "ws");
      let socket = null;
      let spoke = false;
      const end = () => {
        clearTimeout(silence);
        clearInterval(doubt);
        socket?.close(); // a socket that died asleep may never say so: we do not wait for it
        resolve(spoke);
      };
      const doubt = setInterval(async () => {
        const before = heard;
        try {
          await ask(0, signal);
        } catch {
          return end();
        }
        if (heard > before) end(); // the socket should have said so
      }, jittered(Math.max(SOCKET_DOUBTED_EVERY_MS, pace_ms())));
      const silence = setTimeout(end, SOCKET_SPEAKS_WITHIN_MS);
      signal.addEventListener("abort", end, { once: true });
      try {
        socket = new WebSocket(url);
      } catch {
        end();
        return;
      }
      socket.onmessage = (message) => {
        spoke = true;
        clearTimeout(silence);
        learn(message.data);
      };
      socket.onclose = end;
    });
  }

  async function follow() {
    let deaf = 0; // sockets in a row that never spoke
    let troubles = 0;
    let canWait = true;
    let missed = false; // may something have happened while nobody listened?
    for (let turns = 1; !finished(); turns += 1) {
      turn = new AbortController();
      const { signal } = turn;
      const bySocket = deaf < 2 || turns % SOCKET_AGAIN_AFTER_TURNS === 0;
      try {
        if (missed) await ask(0, signal);
        missed = false;
        troubles = 0;
        document.getElementById("offline").hidden = true;
        if (bySocket) {
          const spoke = await listen(signal);
          missed = true;
          if (!signal.aborted) deaf = spoke ? 0 : deaf + 1;
          if (spoke && !signal.aborted) await rest(jittered(500), signal);
        } else if (canWait && !pace_ms()) {
          canWait = false;
          await ask(WAIT_S, signal);
          canWait = true;
        } else {
          await rest(pace_ms() || pauseAfter(3), signal);
          missed = true;
        }
      } catch {
        missed = true;
        if (!signal.aborted) {
          troubles += 1;
          document.getElementById("offline").hidden = troubles < 2;
          await rest(pauseAfter(troubles), signal);
        }
      }
      if (signal.aborted) canWait = true;
    }
  }

  function wake() {
    if (document.visibilityState === "visible") turn.abort();
  }

  document.addEventListener("visibilitychange", wake);
  window.addEventListener("pageshow", (event) => { if (event.persisted) wake(); });
  window.addEventListener("online", wake);
  window.addEventListener("offline", () => turn.abort()); // what is waited for cannot come
  document.addEventListener("checkout-changed", (event) => { problem = event.detail; draw(); });
  setInterval(tick, 1000);
  if (checkout().dataset.again) setTimeout(draw, Number(checkout().dataset.again) * 1000);
  follow();
})();
