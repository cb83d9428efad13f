/** Heartbeats come from a process that runs no user code, so that nothing a model does makes a node look lost. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { measureBusyNode } from '../helpers/busy-node.ts';
import { endPrograms } from '../helpers/programs.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-busy-'));
});
afterEach(async () => {
  await endPrograms();
  rmSync(dir, { recursive: true, force: true });
});

test.each(['spin.py', 'spin.ts'] as const)(
  '%s on every slot: no heartbeat is later than twice its interval',
  async (script) => {
    const heartbeatMs = 1_000;
    const { gapMsMax } = await measureBusyNode({ dir, script, heartbeatMs, spinMs: 4_000, rounds: 2 });
    expect(gapMsMax).toBeGreaterThan(heartbeatMs / 2);
    expect(gapMsMax).toBeLessThan(2 * heartbeatMs);
  },
);
