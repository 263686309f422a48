/* The buttons: apply for payment without leaving the page, and go back to the shop when it is paid.

   Without this file the same buttons post a form. It never makes a second payment out of a double click,
   and where the server says "in a moment" it asks again: the same payment is continued. Inside WeChat it
   hands the payment to the app, whose word for how it went is shown and never believed. */

(() => {
  "use strict";

  const TRIES = 4;
  const BRIDGE_WITHIN_S = 8; // a browser that only says it is WeChat's never gets one
  const checkout = () => document.getElementById("checkout");
  const pause = (s) => new Promise((resolve) => setTimeout(resolve, s * 1000));

  let busy = false;
  let returning = null;
  let leaving = false;
  let said = ""; // what WeChat made of the last press: cancel, fail

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-apply] button");
    const inWeChat = event.target.closest("[data-jsapi]");
    if (button) {
      event.preventDefault();
      choose(button);
    } else if (inWeChat) {
      payInWeChat(JSON.parse(inWeChat.dataset.jsapi));
    } else if (event.target.closest("[data-copy]")) {
      copy(event.target.closest("[data-copy]"));
    } else if (event.target.closest("[data-stay]")) {
      stay();
    }
  });

  async function choose(button) {
    if (busy) return;
    busy = true;
    checkout().dataset.busy = "";
    button.setAttribute("aria-busy", "true");
    const terminal = button.form.elements.terminal.value;
    try {
      const answer = await apply({ channel: button.value, terminal });
      if (answer.field?.startsWith("buyer.") && answer.field !== "buyer.openid") {
        return location.assign(`${checkout().dataset.base}/details/${encodeURIComponent(button.value)}`);
      }
      if (answer.next_action?.type === "redirect") location.assign(answer.next_action.url);
      if (answer.next_action?.type === "form") post(answer.next_action);
      if (answer.next_action?.type === "jsapi") payInWeChat(answer.next_action.parameters);
      draw(answer.field === "buyer.openid" ? "payer_unknown" : answer.code);
    } finally {
      busy = false;
      delete checkout().dataset.busy;
      button.removeAttribute("aria-busy");
    }
  }

  // The same form stands on the page that is drawn meanwhile, for whoever comes back.
  function post({ url, fields }) {
    const form = document.createElement("form");
    form.method = "post";
    form.action = url;
    form.hidden = true;
    for (const [name, value] of Object.entries(fields)) {
      const field = document.createElement("input");
      Object.assign(field, { type: "hidden", name, value });
      form.append(field);
    }
    document.body.append(form);
    form.submit();
  }

  // A slip's number; a browser that does not let us copy is left with the number selected.
  async function copy(button) {
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      for (const part of button.querySelectorAll("[data-copied]")) part.hidden = part.dataset.copied !== "yes";
    } catch {
      getSelection().selectAllChildren(document.querySelector("[data-number]"));
    }
  }

  async function payInWeChat(parameters) {
    say("");
    const bridge = await Promise.race([wechatBridge(), pause(BRIDGE_WITHIN_S)]);
    if (!bridge) return say("fail");
    bridge.invoke("getBrandWCPayRequest", parameters, ({ err_msg: message }) => {
      if (!message.endsWith(":ok")) return say(message.endsWith(":cancel") ? "cancel" : "fail");
      // Only the server knows; it asks the channel, unless the callback was here first.
      const ask = document.querySelector("[data-paid]");
      if (ask) location.assign(ask.href);
    });
  }

  function wechatBridge() {
    if (window.WeixinJSBridge) return Promise.resolve(window.WeixinJSBridge);
    return new Promise((resolve) => {
      document.addEventListener("WeixinJSBridgeReady", () => resolve(window.WeixinJSBridge), { once: true });
    });
  }

  function say(how) {
    said = how;
    tell();
  }

  /* Who came by scanning the one code has chosen: the button of the wallet that scanned is pressed for them,
     once, when the page is really seen. What only fetches pages ahead presses nothing. */

  function go() {
    if (!new URLSearchParams(location.search).has("go")) return;
    if (document.prerendering || document.visibilityState !== "visible") {
      document.addEventListener(document.prerendering ? "prerenderingchange" : "visibilitychange", go, { once: true });
      return;
    }
    history.replaceState(null, "", checkout().dataset.base); // neither a reload nor the way back presses again
    const own = document.querySelector("[data-own]");
    if (own?.href) location.replace(own.href);
    else own?.click();
  }

  async function apply(choice) {
    let answer = { code: "service_unavailable" };
    for (let tries = 0; tries < TRIES; tries += 1) {
      let again_s = 1;
      try {
        const response = await fetch(`${checkout().dataset.base}/attempts`, {
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body: JSON.stringify(choice),
        });
        answer = await response.json();
        if (answer.code !== "apply_in_progress" && response.status !== 503) return answer;
        again_s = Number(response.headers.get("Retry-After")) || 1;
      } catch {
        // The answer was lost on its way; asking again finds the payment that was made.
      }
      if (tries < TRIES - 1) await pause(again_s);
    }
    return answer;
  }

  function draw(problem) {
    document.dispatchEvent(new CustomEvent("checkout-changed", { detail: problem ?? "" }));
  }

  /* Back to the shop, when it was paid before the buyer's eyes */

  function goBack() {
    const link = document.querySelector("[data-return]");
    if (!link || returning !== null) return;
    returning = setTimeout(() => location.assign(link.href), Number(link.dataset.return) * 1000);
    leaving = true;
    tell();
  }

  function stay() {
    clearTimeout(returning);
    leaving = false;
    tell();
  }

  // Every drawing of the page says again what is about to happen, with the way to prevent it, and what did.
  function tell() {
    const notice = document.querySelector("[data-returning]");
    if (notice) notice.hidden = !leaving;
    for (const part of document.querySelectorAll("[data-said]")) part.hidden = part.dataset.said !== said;
    for (const button of document.querySelectorAll("[data-copy]")) button.hidden = false;
  }

  document.addEventListener("checkout-drawn", tell);

  document.addEventListener("checkout-turned", () => {
    if (checkout().dataset.kind === "paid") goBack();
  });

  // The wallet leads to /return: who arrives there has just paid, unless it is a page of the history.
  const arrival = performance.getEntriesByType("navigation")[0]?.type;
  const fromWallet = location.pathname !== checkout().dataset.base && arrival === "navigate";
  if (fromWallet && checkout().dataset.kind === "paid") goBack();
  tell();
  go();
})();
