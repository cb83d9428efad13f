/** What other programs hear of jobs and worker nodes. */
import { expect, it } from 'vitest';
import { jobName, nodeName } from '../../common/core/ids.ts';
import type { JobEvent } from '../../coordinator/api/backend.ts';
import type { Event } from '../../coordinator/core/events.ts';
import { jobEvent, nodeEvent } from '../../coordinator/views/outer-events.ts';

const time = '2030-01-02T03:04:05.000Z';

it('a line of a job goes out under its name and kind, with what of the job a program counts', () => {
  const files = { total: 3, scored: 1, failed: 0 };
  const job = { name: 'a.b', status: 'Running', rows: 5, files, mini_batches: { committed: 1 }, settings: 'much' };
  const event = { sequence: 7, time, kind: 'progress', message: '1 of 3', job } as unknown as JobEvent;
  expect(jobEvent(event)).toEqual({
    subject: 'jobs.a%2Eb.progress',
    body: {
      ...{ version: 1, time, job: 'a.b', kind: 'progress', sequence: 7, message: '1 of 3' },
      ...{ status: 'Running', rows: 5, files, mini_batches: { committed: 1 } },
    },
  });
});

it('a node that is lost or quarantined is told, a heartbeat is not', () => {
  const node = nodeName('gpu-1.lab');
  const job = jobName('j');
  expect(nodeEvent({ kind: 'NodeLost', node }, time)).toEqual({
    subject: 'nodes.gpu-1%2Elab.lost',
    body: { version: 1, time, node: 'gpu-1.lab', kind: 'lost', job: null, reason: null },
  });
  const released: Event = { kind: 'NodeReleased', job, node };
  expect(nodeEvent(released, time)).toMatchObject({ subject: 'nodes.gpu-1%2Elab.released', body: { job: 'j' } });
  expect(nodeEvent({ kind: 'NodeHeard', node, at: 1, clock: 1 }, time)).toBeNull();
});
