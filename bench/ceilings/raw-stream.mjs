/**
 * Results of a script over one bare gRPC stream into one file, in messages and with syncs of the sizes that the product has: the limit of
 * what must cross from one process to another and lie on the disk. No order to keep, nothing noted, nothing encrypted.
 */
import { fork } from 'node:child_process';
import { closeSync, fdatasync, mkdirSync, openSync, write } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { credentials, makeGenericClientConstructor, Server, ServerCredentials } from '@grpc/grpc-js';
import { filesBelow } from './pool.mjs';

const messageBytes = 262_144;
const syncedBytes = 8_388_608;
const [writeAsync, syncAsync] = [promisify(write), promisify(fdatasync)];

const same = (bytes) => bytes;
const method = {
  ...{ path: '/raw/Send', requestStream: true, responseStream: false },
  ...{ requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same },
};

const { values } = parseArgs({
  options: {
    input: { type: 'string' },
    script: { type: 'string' },
    output: { type: 'string' },
    serve: { type: 'boolean' },
  },
});
if (process.send) await send();
else await receive();

async function receive() {
  let output = '';
  const server = new Server();
  server.addService(
    { send: method },
    { send: (call, answer) => void take(call, output).then(() => answer(null, Buffer.alloc(0)), answer) },
  );
  const port = await promisify(server.bindAsync.bind(server))('127.0.0.1:0', ServerCredentials.createInsecure());
  const sender = fork(process.argv[1], process.argv.slice(2), {
    env: { ...process.env, RAW_STREAM_PORT: String(port) },
  });
  sender.once('exit', (code) => code === 0 || process.exit(1));
  await new Promise((resolve) => sender.once('message', resolve));
  const score = async (dir) => {
    mkdirSync(dir, { recursive: true });
    output = join(dir, 'part-0.csv');
    const sent = new Promise((resolve) => sender.once('message', resolve));
    sender.send('go');
    await sent;
  };
  if (values.serve) {
    console.log('ready');
    for await (const dir of createInterface({ input: process.stdin })) {
      await score(dir);
      console.log('done');
    }
  } else await score(values.output);
  sender.disconnect();
  server.forceShutdown();
}

async function take(call, path) {
  const file = openSync(path, 'w');
  let unsynced = 0;
  for await (const bytes of call) {
    await writeAsync(file, bytes);
    unsynced += bytes.length;
    if (unsynced >= syncedBytes) {
      await syncAsync(file);
      unsynced = 0;
    }
  }
  await syncAsync(file);
  closeSync(file);
}

async function send() {
  const { run } = await import(pathToFileURL(values.script).href);
  const Client = makeGenericClientConstructor({ send: method }, 'raw');
  const client = new Client(`127.0.0.1:${process.env.RAW_STREAM_PORT}`, credentials.createInsecure());
  const names = filesBelow(values.input);
  process.on('message', () => {
    stream(client, names, run).then(
      () => process.send('sent'),
      (error) => {
        console.error(error);
        process.exit(1);
      },
    );
  });
  process.once('disconnect', () => client.close());
  process.send('open');
}

async function stream(client, names, run) {
  let end;
  const ended = new Promise((resolve, reject) => (end = (error) => (error ? reject(error) : resolve())));
  const call = client.send(end);
  for (const name of names) {
    const rows = await run([join(values.input, name)], { names: [name] });
    const bytes = Buffer.from(`${rows.join('\n')}\n`);
    for (let at = 0; at < bytes.length; at += messageBytes) {
      if (!call.write(bytes.subarray(at, at + messageBytes)))
        await new Promise((resolve) => call.once('drain', resolve));
    }
  }
  call.end();
  await ended;
}
