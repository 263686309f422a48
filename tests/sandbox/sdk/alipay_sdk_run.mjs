// Drive the sandbox with the SDK `alipay-sdk`, unchanged, and print what it made of the answers.
// Reads one JSON object from standard input: {account, sandbox_url} where the account holds either
// the public key or the three certificates. The SDK's folder is the one argument.

import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { once } from 'node:events';

const require = createRequire(`${process.argv[2]}/`);
const { AlipaySdk } = require('alipay-sdk');

const NUMBER = `SDKJS${Date.now()}`;
const ORDER = { total_amount: '12.34', subject: '一杯咖啡' };

async function readInput() {
  let text = '';
  for await (const chunk of process.stdin) text += chunk;
  return JSON.parse(text);
}

// The notify URL: each notification that arrives is an event of the server.
function startReceiver() {
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    response.end('success');
    server.emit('notification', Object.fromEntries(new URLSearchParams(body)));
  });
  return server;
}

async function control(url, path, body) {
  const response = await fetch(`${url}/_control/${path}`, {
    method: 'POST',
    body: JSON.stringify({ channel: 'alipay', ...body }),
  });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
}

function sdkFor(account) {
  return new AlipaySdk({
    appId: account.app_id,
    privateKey: account.app_key,
    keyType: 'PKCS8',
    gateway: `${account.base_url}/gateway.do`,
    endpoint: account.base_url,
    camelcase: false,
    alipayPublicKey: account.alipay_public_key,
    appCertContent: account.app_certificate,
    alipayPublicCertContent: account.alipay_certificate,
    alipayRootCertContent: account.root_certificate,
  });
}

function today() {
  return new Date(Date.now() + 8 * 3600 * 1000).toISOString().slice(0, 10);
}

// What a browser does with a form that the SDK made for it.
async function submit(form) {
  const action = form.match(/action="([^"]*)"/)[1];
  const fields = [...form.matchAll(/name="(\w+)" value="([^"]*)"/g)]
    .map(([, name, value]) => [name, value.replaceAll('&quot;', '"')]);
  return open(action, { method: 'POST', body: new URLSearchParams(fields) });
}

async function open(url, options = {}) {
  const page = await fetch(url, options);
  return { status: page.status, text: await page.text() };
}

// The same by the newer protocol, where a refusal is an exception.
async function driveRest(sdk, url, notifyUrl) {
  const call = async (path, body) => {
    try {
      const { data } = await sdk.curl('POST', `/v3/alipay/trade/${path}`, { body });
      return data;
    } catch (error) {
      if (!error.responseHttpStatus) throw error;
      return { code: error.code, status: error.responseHttpStatus };
    }
  };
  const mine = { out_trade_no: `${NUMBER}R` };
  const refund = { ...mine, out_request_no: 'R1' };
  const seen = {};
  seen.create = await call('precreate', { ...ORDER, ...mine, notify_url: notifyUrl });
  seen.query = await call('query', mine);
  await control(url, 'pay', { number: mine.out_trade_no });
  seen.query_paid = await call('query', mine);
  seen.close_paid = await call('close', mine);
  seen.refund = await call('refund', { ...refund, refund_amount: '10.00' });
  seen.query_refund = await call('fastpay/refund/query', refund);
  return seen;
}

async function drive({ account, sandbox_url: url }, server) {
  const notifyUrl = `http://127.0.0.1:${server.address().port}/notify`;
  const sdk = sdkFor(account);
  const call = (method, bizContent, more) => sdk.exec(
    `alipay.trade.${method}`,
    { bizContent, ...more },
    { validateSign: true },
  );
  const mine = { out_trade_no: NUMBER };
  const refund = { ...mine, out_request_no: 'R1' };
  const page = (number, code) => ({
    notifyUrl,
    returnUrl: 'https://shop.test/back',
    bizContent: { ...ORDER, out_trade_no: number, product_code: code },
  });
  const seen = {};

  seen.create = await call('precreate', { ...ORDER, ...mine }, { notifyUrl });
  seen.query = await call('query', mine);
  const arrival = once(server, 'notification');
  await control(url, 'pay', { number: NUMBER });
  [seen.notification] = await arrival;
  seen.notification_holds = sdk.checkNotifySignV2(seen.notification);
  seen.query_paid = await call('query', mine);
  seen.close_paid = await call('close', mine);
  seen.refund = await call('refund', { ...refund, refund_amount: '10.00' });
  seen.query_refund = await call('fastpay.refund.query', refund);
  const other = { out_trade_no: `${NUMBER}C` };
  await call('precreate', { ...ORDER, ...other });
  await control(url, 'scan', { number: other.out_trade_no });
  seen.close = await call('close', other);
  seen.query_closed = await call('query', other);
  const wap = page(`${NUMBER}W`, 'QUICK_WAP_WAY');
  const web = page(`${NUMBER}P`, 'FAST_INSTANT_TRADE_PAY');
  const app = page(`${NUMBER}A`, 'QUICK_MSECURITY_PAY');
  seen.pages = [
    await open(sdk.pageExecute('alipay.trade.wap.pay', 'GET', wap)),
    await submit(sdk.pageExecute('alipay.trade.page.pay', 'POST', web)),
    await open(`${account.base_url}/gateway.do?${sdk.sdkExecute('alipay.trade.app.pay', app)}`),
  ];
  seen.rest = await driveRest(sdk, url, notifyUrl);
  await control(url, 'faults', { bills: 'at_once' });
  const { bill_download_url: link } = await sdk.exec(
    'alipay.data.dataservice.bill.downloadurl.query',
    { bizContent: { bill_type: 'trade', bill_date: today() } },
    { validateSign: true },
  );
  const archive = Buffer.from(await (await fetch(link)).arrayBuffer());
  seen.bill_archive = archive.subarray(0, 2).toString();
  return seen;
}

const given = await readInput();
const server = startReceiver();
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const seen = await drive(given, server);
server.closeAllConnections();
server.close();
console.log(JSON.stringify(seen));
