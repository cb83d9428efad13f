// The health check of a coordinator's container: exit code 0 while it lives, over TLS with the cluster's own authority, or in the clear.
import { existsSync, readFileSync } from 'node:fs';
import { get as getInClear } from 'node:http';
import { get } from 'node:https';
import { join } from 'node:path';

const port = (process.env.BATCHMILL_HTTP ?? '127.0.0.1:7078').split(':').pop();
const authority = join(process.env.BATCHMILL_STATE_DIR ?? '.batchmill', 'tls', 'ca.crt');
const where = { host: '127.0.0.1', port, path: '/healthz', timeout: 4_000 };

/** @returns the status; rejects when there is none */
const asked = (ask, options) =>
  new Promise((resolve, reject) => {
    const request = ask(options, (answer) => {
      answer.resume();
      resolve(answer.statusCode);
    });
    request.once('timeout', () => request.destroy(new Error('no answer in 4 s')));
    request.once('error', reject);
  });

const isInClear = process.env.BATCHMILL_INSECURE === 'true' || !existsSync(authority);
const status = await (
  isInClear
    ? asked(getInClear, { ...where, headers: { host: `127.0.0.1:${port}` } })
    : asked(get, { ...where, ca: readFileSync(authority), servername: 'batchmill-coordinator' })
).catch((error) => error.message);
if (status !== 200) {
  console.error(`not healthy: ${status}`);
  process.exit(1);
}
