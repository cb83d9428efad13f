/** A caller that asks more than one may is told to wait, and nobody else is. */
import { expect, test } from 'vitest';
import { createClient } from '../../cli/client.ts';
import { limits } from '../../common/core/limits.ts';
import { failing } from '../helpers/failing.ts';
import { askAs } from '../helpers/http-peer.ts';
import { LocalCluster } from '../helpers/local-cluster.ts';

test('a flood is refused with 429 and who asks with another token is served', async () => {
  const cluster = await LocalCluster.start({
    ...{ http: { host: '127.0.0.1', port: 0 }, security: { joinTokenMs: 60_000 } },
  });
  try {
    const { access, http } = cluster.coordinator;
    if (!access || !http) throw new Error('the coordinator serves TLS');
    const token = async (user: string): Promise<string> =>
      (await access.makeToken({ user, role: 'reader', ttlMs: 60_000, uses: null, createdBy: 'test' })).secret;
    const { cert: ca, fingerprint: caFingerprint } = access.authority;
    const flood = { server: http, ca, caFingerprint, token: await token('flood'), isInsecure: false };
    const other = { ...flood, token: await token('other') };
    const client = createClient(flood);
    let asked = 0;
    let refusal: unknown = null;
    const ask = async (): Promise<void> => {
      while (refusal === null && asked < 6 * limits.apiRequestsMax) {
        asked += 1;
        await client.nodes().catch((error: unknown) => (refusal ??= error));
      }
    };
    await Promise.all(Array.from({ length: 16 }, ask));
    expect(refusal).toMatchObject(failing('TOO_MANY_REQUESTS', `more than ${limits.apiRequestsMax} requests`));
    expect(asked).toBeGreaterThan(limits.apiRequestsMax);
    expect((await askAs(flood, 'GET', '/v1/nodes')).status).toBe(429);
    expect((await askAs(other, 'GET', '/v1/nodes')).status).toBe(200);
  } finally {
    await cluster.close();
  }
}, 60_000);
