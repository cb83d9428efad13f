/** An environment that is being built, as people see it: from the worker node's core to the lines of a job. */
import { describe, expect, it } from 'vitest';
import type { Preparation } from '../../common/core/cluster-messages.ts';
import { nodeName } from '../../common/core/ids.ts';
import { nodeCommands } from '../../coordinator/core/node-commands.ts';
import { jobView } from '../../coordinator/views/job-view.ts';
import { JobFeeds } from '../../coordinator/views/job-feed.ts';
import { emptyNodeMessage } from '../../common/core/cluster-messages.ts';
import { Harness, job } from '../helpers/ledger-harness.ts';
import { grant, jobA, jobB, WorkerRig } from '../helpers/worker-rig.ts';

describe('on the worker node', () => {
  function prepare(rig: WorkerRig, text: string): readonly Preparation[] {
    rig.tell({ kind: 'preparing', job: jobA, text });
    return rig.turn()?.preparations ?? [];
  }

  it('a line is told once, whichever slots say it, and its end', () => {
    const rig = new WorkerRig(2).ready();
    rig.stage(grant(1), grant(2));
    rig.turn();
    expect(prepare(rig, 'pip 1 s')).toEqual([{ job: jobA, text: 'pip 1 s' }]);
    expect(prepare(rig, 'pip 1 s')).toEqual([]);
    expect(prepare(rig, '')).toEqual([{ job: jobA, text: '' }]);
    expect(prepare(rig, '')).toEqual([]);
  });

  it('what goes on is told anew on the next stream, what has ended is not', () => {
    const rig = new WorkerRig().ready();
    rig.turn();
    prepare(rig, 'pip 1 s');
    rig.loseLink();
    rig.after(200);
    rig.join();
    expect(
      rig.turn()?.preparations ?? rig.events.findLast((event) => event.kind === 'Reported')?.message.preparations,
    ).toEqual([{ job: jobA, text: 'pip 1 s' }]);
    rig.loseLink();
    rig.tell({ kind: 'preparing', job: jobA, text: '' });
    rig.hear({ endedJobs: [jobA] });
    expect([...rig.state.preparations]).toEqual([]);
  });

  it('nothing is told of a job that the node does not know', () => {
    const rig = new WorkerRig().ready();
    rig.turn();
    expect(rig.tell({ kind: 'preparing', job: jobB, text: 'pip' })).toEqual([]);
  });
});

describe('on the coordinator', () => {
  function begun(): { readonly rig: Harness; readonly prepare: (node: string, text: string) => void } {
    const rig = new Harness().submit().list(1, 1, 1, 1);
    rig.node('n1', 1);
    rig.node('n2', 1);
    const prepare = (node: string, text: string): void => {
      const message = { ...emptyNodeMessage, preparations: [{ job, text }] };
      for (const command of nodeCommands(nodeName(node), message, 0)) rig.give(command);
    };
    return { rig, prepare };
  }
  const waiting = (rig: Harness): string | null => jobView(rig.ledger, rig.job).waiting;

  it('a job waits while every node that holds leases of it prepares', () => {
    const { rig, prepare } = begun();
    prepare('n1', 'environment e: installing (pip) 1 s');
    expect(waiting(rig)).toBeNull();
    prepare('n2', 'environment e: installing (pip) 2 s');
    expect(waiting(rig)).toBe('n1: environment e: installing (pip) 1 s (and 1 more)');
    prepare('n1', '');
    expect(waiting(rig)).toBeNull();
  });

  it('it is lost with the connection, and with the job', () => {
    const { rig, prepare } = begun();
    for (const node of ['n1', 'n2']) prepare(node, 'building');
    rig.give({ kind: 'disconnected', node: nodeName('n1') });
    expect(rig.ledger.nodes.get(nodeName('n1'))?.preparations.size).toBe(0);
    rig.give({ kind: 'cancel', job, wallMs: 0 });
    expect(rig.ledger.nodes.get(nodeName('n2'))?.preparations.size).toBe(0);
    prepare('n2', 'building');
    expect(rig.ledger.nodes.get(nodeName('n2'))?.preparations.size).toBe(0);
  });

  it('nothing of it is journaled', () => {
    const { rig, prepare } = begun();
    const records = rig.journal.length;
    prepare('n1', 'building');
    expect(rig.journal).toHaveLength(records);
  });

  it('its lines are one for each phase, while the seconds move the progress', async () => {
    const { rig, prepare } = begun();
    const feeds = new JobFeeds({ ledger: rig.ledger, wall: () => 0 });
    const say = (text: string): void => {
      const from = rig.published.length;
      prepare('n1', text);
      for (const event of rig.published.slice(from)) feeds.publish(event);
      feeds.progress();
    };
    say('environment e: making (venv) 0 s');
    say('environment e: installing (pip) 1 s · Collecting pandas');
    say('environment e: installing (pip) 2 s · Collecting numpy');
    say('');
    const over = new AbortController();
    const lines: string[] = [];
    for await (const { kind, message } of feeds.follow(job, 0, over.signal)) {
      if (kind === 'waiting') lines.push(message);
      if (message.endsWith('ended')) over.abort();
    }
    expect(lines).toEqual([
      'n1: environment e: making (venv)',
      'n1: environment e: installing (pip)',
      'n1: environment e: installing (pip), ended',
    ]);
  });

  it('a failure that comes again is told in full once', async () => {
    const { rig } = begun();
    const feeds = new JobFeeds({ ledger: rig.ledger, wall: () => 0 });
    const fail = (message: string): void =>
      feeds.publish({
        kind: 'HostFailed',
        job,
        node: nodeName('n1'),
        failure: { code: 'SCORER_FAILED', message, detail: '' },
      });
    fail('no such file: /a/1.bin');
    fail('no such file: /b/2.bin');
    fail('another reason');
    const over = new AbortController();
    const lines: string[] = [];
    for await (const { message } of feeds.follow(job, 0, over.signal)) {
      lines.push(message);
      if (message.endsWith('another reason')) over.abort();
    }
    expect(lines.slice(-3)).toEqual([
      'the scorer did not start on n1: SCORER_FAILED: no such file: /a/1.bin',
      'the scorer did not start on n1: SCORER_FAILED, as before',
      'the scorer did not start on n1: SCORER_FAILED: another reason',
    ]);
  });
});
