// Drive the sandbox with the SDK `wechatpay-axios-plugin`, unchanged, and print what it made of the
// answers. Reads one JSON object from standard input: {account, platform, sandbox_url, mode} where
// mode is public_key or certificate, and platform is {serial, certificate}. The SDK's folder is the
// one argument.

import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { once } from 'node:events';
import { createHash } from 'node:crypto';

const require = createRequire(`${process.argv[2]}/`);
const { Wechatpay, Aes, Formatter, Rsa } = require('wechatpay-axios-plugin');

const NUMBER = `SDKJS${Date.now()}`;

async function readInput() {
  let text = '';
  for await (const chunk of process.stdin) text += chunk;
  return JSON.parse(text);
}

// The notify URL: each callback that arrives is an event of the server.
function startReceiver() {
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    response.writeHead(204).end();
    server.emit('callback', { headers: request.headers, body });
  });
  return server;
}

async function control(url, path, body) {
  const response = await fetch(`${url}/_control/${path}`, {
    method: 'POST',
    body: JSON.stringify({ channel: 'wechat', ...body }),
  });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
}

function openCallback({ headers, body }, certs, apiv3Key) {
  const message = Formatter.response(
    headers['wechatpay-timestamp'],
    headers['wechatpay-nonce'],
    body,
  );
  const key = certs[headers['wechatpay-serial']];
  const verified = Rsa.verify(message, headers['wechatpay-signature'], key);
  const { event_type: eventType, resource } = JSON.parse(body);
  const plain = Aes.AesGcm.decrypt(
    resource.ciphertext,
    apiv3Key,
    resource.nonce,
    resource.associated_data,
  );
  return { verified, event_type: eventType, resource: JSON.parse(plain) };
}

async function drive({ account, platform, sandbox_url: url, mode }, server) {
  const notifyUrl = `http://127.0.0.1:${server.address().port}/notify`;
  const certs = mode === 'public_key'
    ? { [account.public_key_id]: account.public_key }
    : { [platform.serial]: platform.certificate };
  const sdk = new Wechatpay({
    baseURL: account.base_url,
    mchid: account.mchid,
    serial: account.merchant_serial,
    privateKey: account.merchant_key,
    certs: { ...certs },
    headers: mode === 'public_key' ? { 'Wechatpay-Serial': account.public_key_id } : {},
  });
  const keys = Object.fromEntries(
    Object.entries(certs).map(([id, pem]) => [id, Rsa.from(pem, Rsa.KEY_TYPE_PUBLIC)]),
  );
  const seen = {};
  const note = async (step, call) => {
    try {
      const { status, data } = await call;
      seen[step] = { status, body: data || null };
    } catch (error) {
      if (!error.response) throw error;
      seen[step] = { status: error.response.status, body: error.response.data };
    }
  };
  const callbackAfter = async (act) => {
    const arrival = once(server, 'callback');
    await act();
    const [callback] = await arrival;
    return openCallback(callback, keys, account.apiv3_key);
  };
  const order = {
    mchid: account.mchid,
    appid: account.appid,
    description: '一杯咖啡',
    out_trade_no: NUMBER,
    notify_url: notifyUrl,
    amount: { total: 1234, currency: 'CNY' },
  };
  const mine = { params: { mchid: account.mchid } };
  const orders = 'v3/pay/transactions/out-trade-no';
  const refunds = 'v3/refund/domestic/refunds';
  const close = (number) => sdk.chain(`${orders}/${number}/close`).post({ mchid: account.mchid });
  const query = (number) => sdk.chain(`${orders}/${number}`).get(mine);

  await control(url, 'faults', { callback_signer: mode, refund_takes_s: 0 });
  await note('create', sdk.v3.pay.transactions.native.post(order));
  await note('query', query(NUMBER));
  seen.paid_callback = await callbackAfter(() => control(url, 'pay', { number: NUMBER }));
  await note('query_paid', query(NUMBER));
  await note('close_paid', close(NUMBER));
  seen.refund_callback = await callbackAfter(() => note('refund', sdk.chain(refunds).post({
    out_trade_no: NUMBER,
    out_refund_no: `${NUMBER}R`,
    notify_url: notifyUrl,
    amount: { refund: 1000, total: 1234, currency: 'CNY' },
  })));
  await note('query_refund', sdk.chain(`${refunds}/${NUMBER}R`).get());
  await note('create_other', sdk.v3.pay.transactions.native.post({ ...order, out_trade_no: `${NUMBER}C` }));
  await note('close', close(`${NUMBER}C`));
  await note('query_closed', query(`${NUMBER}C`));

  await control(url, 'faults', { bills: 'at_once' });
  const today = new Date(Date.now() + 8 * 3600 * 1000).toISOString().slice(0, 10);
  await note('bill_link', sdk.v3.bill.tradebill.get({ params: { bill_date: today, bill_type: 'ALL' } }));
  const { data } = await sdk.v3.billdownload.file.get({
    params: new URL(seen.bill_link.body.download_url).searchParams,
    responseType: 'arraybuffer',
    transformResponse: [(file) => file],
  });
  const { rows } = Formatter.castCsvBill(data);
  seen.bill = {
    sha1: createHash('sha1').update(Buffer.from(data)).digest('hex'),
    rows: rows.map((row) => [row.商户订单号, row.交易状态, row.订单金额, row.申请退款金额]),
  };
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
