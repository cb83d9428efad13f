/** Grants that do not go out: what the node had asked for is still wanted. */
import { describe, expect, it } from 'vitest';
import { emptyNodeMessage } from '../../common/core/cluster-messages.ts';
import { jobName, nodeName } from '../../common/core/ids.ts';
import { systemClock } from '../../common/io/clock.ts';
import type { Command } from '../../coordinator/core/commands.ts';
import type { Effect } from '../../coordinator/core/effects.ts';
import { newLedger } from '../../coordinator/core/ledger.ts';
import type { JobFiles } from '../../coordinator/job-files.ts';
import { NodeDesk, type NodeDeskOptions } from '../../coordinator/node-desk.ts';
import { NodeLink } from '../../coordinator/service/node-link.ts';

const node = nodeName('n');
const effect: Extract<Effect, { kind: 'grant' }> = {
  kind: 'grant',
  ...{ node, token: { epoch: 1, counter: 1 }, job: jobName('j') },
  ...{ range: { first: 0, count: 1 }, attempt: 1, isAlone: false },
};
const wanted = [{ kind: 'want', node, leases: 1 }];

/** A desk with one node, whose core only keeps what it is asked. */
function openDesk(filesOf: () => unknown) {
  const commands: Command[] = [];
  const together = (work: () => void): void => work();
  const handle = (command: Command): void => void commands.push(command);
  const loop = { ledger: newLedger({ heartbeatMs: 5_000 }), handle, together };
  const desk = new NodeDesk({ loop, clock: systemClock, filesOf } as unknown as NodeDeskOptions);
  const connect = (): void => {
    const link = new NodeLink({ node, write: () => true, end: () => undefined });
    desk.receive(link, { ...emptyNodeMessage, hello: [] }, []);
    commands.length = 0;
  };
  connect();
  return { desk, connect, commands };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('a grant that does not go out', () => {
  it('is wanted still when the job has no files any more', async () => {
    const { desk, commands } = openDesk(() => undefined);
    desk.grant(effect);
    // Not in the midst of an effect.
    expect(commands).toEqual([]);
    await turn();
    expect(commands).toEqual(wanted);
    desk.close();
  });

  it('is wanted still when the lease has ended while the list was read', async () => {
    let read: (inputs: readonly never[]) => void = () => undefined;
    const catalog = { known: () => null, files: () => new Promise((resolve) => (read = resolve)) };
    const { desk, commands } = openDesk((): Pick<JobFiles, 'catalog'> => ({ catalog }) as unknown as JobFiles);
    desk.grant(effect);
    await turn();
    expect(commands).toEqual([]);
    read([]);
    await turn();
    expect(commands).toEqual(wanted);
    desk.close();
  });

  it('is not wanted by a node that has come back since, and has asked anew', async () => {
    const { desk, connect, commands } = openDesk(() => undefined);
    desk.grant(effect);
    connect();
    await turn();
    expect(commands).toEqual([]);
    desk.close();
  });
});
