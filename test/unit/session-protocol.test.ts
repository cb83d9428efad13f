/** What worker nodes of several releases are given by one coordinator. */
import { describe, expect, it } from 'vitest';
import {
  emptyNodeMessage,
  type CoordinatorMessage,
  type JoinReply,
  type JoinRequest,
} from '../../common/core/cluster-messages.ts';
import { incarnation, nodeName } from '../../common/core/ids.ts';
import { systemClock } from '../../common/io/clock.ts';
import { newLedger } from '../../coordinator/core/ledger.ts';
import { NodeCertificates, type NodeCertificatesOptions } from '../../coordinator/access/node-certificates.ts';
import { NodeDesk, type NodeDeskOptions } from '../../coordinator/node-desk.ts';
import { NodeLink } from '../../coordinator/service/node-link.ts';
import { failing } from '../helpers/failing.ts';
import { matching } from '../helpers/matching.ts';

/** A desk whose core makes nothing of what it hears. */
function openDesk(): NodeDesk {
  const together = (work: () => void): void => work();
  const loop = { ledger: newLedger({ heartbeatMs: 5_000 }), handle: () => undefined, together };
  const options = { loop, clock: systemClock, joinToken: 't', release: '2.0.0' };
  return new NodeDesk(options as unknown as NodeDeskOptions);
}

function join(desk: NodeDesk, name: string, spoken: Pick<JoinRequest, 'protocol' | 'protocolNewest'>): JoinReply {
  const request = {
    ...{ ...spoken, release: '1.0.0', joinToken: 't', name: nodeName(name), incarnation: incarnation(name) },
    ...{ slots: 1, hostname: 'h', pid: 1, labels: {}, answersDiagnose: true },
  };
  return desk.join(request, null);
}

describe('a session', () => {
  it.each([
    ['a release that knew of one number only', { protocol: 1 }, 1],
    ['one that says no other', { protocol: 2, protocolNewest: 0 }, 2],
    ['this release', { protocol: 1, protocolNewest: 2 }, 2],
    ['the next one', { protocol: 2, protocolNewest: 3 }, 2],
  ])('has the newest protocol that both speak: %s', (_name, spoken, protocol) => {
    expect(join(openDesk(), 'n', spoken).protocol).toBe(protocol);
  });

  it.each([
    [
      { protocol: 3, protocolNewest: 4 },
      'speaks protocol 3 to 4, this coordinator (release 2.0.0) 1 to 2; upgrade the coordinator',
    ],
    [{ protocol: 0 }, 'speaks protocol 0, this coordinator (release 2.0.0) 1 to 2; upgrade the worker node'],
  ])('is refused where there is none: %j', (spoken, said) => {
    expect(() => join(openDesk(), 'n', spoken)).toThrow(
      failing('PROTOCOL_MISMATCH', `worker node n (release 1.0.0) ${said}`),
    );
  });

  it('is not even given a certificate where there is none, and its token stays good', async () => {
    const seen: unknown[] = [];
    const options = {
      tokens: { check: () => seen.push('token') },
      audit: { record: ({ status }: { readonly status: number }) => seen.push(status) },
    };
    const certificates = new NodeCertificates(options as unknown as NodeCertificatesOptions);
    const request = { release: '1.0.0', joinToken: 't', name: nodeName('n'), certificateRequest: 'pem' };
    await expect(certificates.enroll({ ...request, protocol: 3, protocolNewest: 4 }, null)).rejects.toMatchObject({
      code: 'PROTOCOL_MISMATCH',
      message: matching(/^worker node n \(release 1\.0\.0\) speaks protocol 3 to 4, .*upgrade the coordinator$/),
    });
    expect(seen).toEqual([409]);
  });

  it('is told of a handover when it has a protocol that knows of it, and hears nothing else', async () => {
    const desk = openDesk();
    const heard = new Map<string, CoordinatorMessage[]>();
    for (const [name, protocolNewest] of [['old', 0] as const, ['new', 2] as const]) {
      join(desk, name, { protocol: 1, protocolNewest });
      const messages: CoordinatorMessage[] = [];
      heard.set(name, messages);
      const write = (message: CoordinatorMessage): boolean => messages.push(message) > 0;
      const link = new NodeLink({ node: nodeName(name), write, end: () => undefined });
      desk.receive(link, { ...emptyNodeMessage, hello: [] }, []);
    }
    desk.announceHandover(3_000);
    await new Promise((resolve) => setImmediate(resolve));
    expect([...heard].map(([name, all]) => [name, all.map(({ handoverMs }) => handoverMs)])).toEqual([
      ['old', []],
      ['new', [3_000]],
    ]);
    desk.close();
  });
});
