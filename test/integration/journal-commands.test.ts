/** `journal verify`, `repair` and `export` on journals that are damaged on a real disk. */
import { copyFileSync, cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { packageFile } from '../../common/io/package-files.ts';
import { Journal } from '../../coordinator/journal/journal.ts';
import type { JournalReport } from '../../coordinator/journal/inspect.ts';
import type { RepairPlan } from '../../coordinator/journal/repair.ts';
import { cli } from '../helpers/cli-host.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-journal-'));
  cpSync(packageFile('test', 'fixtures', 'journal', 'v1'), dir, { recursive: true });
});
afterEach(() => rmSync(dir, { recursive: true }));

const segment = (number: number): string => join(dir, 'journal', `segment-00000${number}`);

/** Changes one byte of a record in the middle. Returns its offset. */
function damage(path: string, part = 0.5): void {
  const bytes = readFileSync(path);
  const at = Math.floor(bytes.length * part);
  bytes[at] = (bytes[at] as number) ^ 4;
  writeFileSync(path, bytes);
}

async function verify(): Promise<{ code: number; report: JournalReport & { starts: boolean } }> {
  const { code, stdout } = await cli(['journal', 'verify', dir, '-o', 'json']);
  return { code, report: JSON.parse(stdout) as JournalReport & { starts: boolean } };
}

async function repair(...flags: readonly string[]): Promise<{ code: number; plan: RepairPlan; stderr: string }> {
  const { code, stdout, stderr } = await cli(['journal', 'repair', dir, ...flags, '-o', 'json']);
  return { code, plan: JSON.parse(stdout) as RepairPlan, stderr };
}

/** As a coordinator does. Returns its records. */
async function open(): Promise<unknown[]> {
  const records: unknown[] = [];
  const fail = (what: unknown): never => {
    throw new Error(JSON.stringify(what));
  };
  const journal = await Journal.open({
    dir,
    onRecord: (record) => records.push(record),
    onSynced: () => undefined,
    onStall: fail,
    onFatal: fail,
    image: { take: () => ({ bytes: 0, pieces: [] }), load: () => records.push('snapshot') },
  });
  await journal.close();
  return records;
}

describe('verify', () => {
  it('counts what is there', async () => {
    const { code, report } = await verify();
    expect(code).toBe(0);
    expect(report).toMatchObject({ epochs: [1, 2], jobs: ['job', 'other'], damage: null, starts: true, snapshots: [] });
    expect(report.records).toBe((await open()).length);
  });

  it('names segment, byte and record of the first damage, which is where a start stops', async () => {
    damage(segment(1));
    const { code, report } = await verify();
    expect(code).toBe(1);
    expect(report.starts).toBe(false);
    const { byte_offset, record, segment: name } = report.damage ?? {};
    expect(name).toBe('segment-000001');
    const found = await open().catch((error: Error) => error.message);
    expect(found).toContain(`segment-000001 is damaged at byte ${byte_offset}: record ${record} does not match`);
  });

  it('refuses while a coordinator uses the folder, and says when there is no journal', async () => {
    const ignore = (): void => undefined;
    const journal = await Journal.open({ dir, onRecord: ignore, onSynced: ignore, onStall: ignore, onFatal: ignore });
    const { code, stderr } = await cli(['journal', 'verify', dir]);
    expect([code, stderr]).toEqual([6, expect.stringContaining(`process id ${process.pid} `)]);
    await journal.close();
    const none = await cli(['journal', 'verify', join(dir, 'journal')]);
    expect([none.code, none.stderr]).toEqual([2, expect.stringContaining('is not the state directory')]);
  });
});

describe('repair', () => {
  it('changes nothing without --yes, and says what would be lost', async () => {
    damage(segment(1));
    const before = readdirSync(join(dir, 'journal')).map((name) => [name, readFileSync(join(dir, 'journal', name))]);
    const { code, plan, stderr } = await repair();
    expect([code, stderr]).toEqual([1, expect.stringContaining('nothing was changed')]);
    expect(plan.lost_jobs).toContain('job');
    expect(plan.kept_record + 1).toBe(plan.damage?.record);
    // The record in the middle of the damage is the only one that nobody can read.
    expect(plan.lost.records).toBe(plan.lost.last - plan.kept_record - 1);
    const after = readdirSync(join(dir, 'journal')).map((name) => [name, readFileSync(join(dir, 'journal', name))]);
    expect(after).toEqual(before);
  });

  it('cuts at the damage, keeps what it cuts off, and a start goes on from there', async () => {
    const all = await open();
    const whole = readFileSync(segment(2));
    damage(segment(1));
    const damaged = readFileSync(segment(1));
    const { plan } = await repair();
    const { code } = await repair('--yes');
    expect(code).toBe(0);
    expect(await open()).toEqual(all.slice(0, plan.kept_record));
    expect(readFileSync(join(dir, 'journal', 'damaged-segment-000001'))).toEqual(damaged);
    expect(readFileSync(join(dir, 'journal', 'damaged-segment-000002'))).toEqual(whole);
    expect(await verify()).toMatchObject({ code: 0, report: { starts: true } });
    expect(await repair()).toMatchObject({ code: 0, plan: { damage: null } });
  });

  it('begins again behind a segment whose header is gone, or that is missing', async () => {
    const all = await open();
    writeFileSync(segment(2), Buffer.concat([Buffer.alloc(28), readFileSync(segment(2)).subarray(28)]));
    const { plan } = await repair('--yes');
    expect(plan.damage).toMatchObject({ segment: 'segment-000002', byte_offset: 0 });
    expect(await open()).toEqual(all.slice(0, plan.kept_record));

    rmSync(segment(1));
    copyFileSync(join(dir, 'journal', 'damaged-segment-000002'), segment(2));
    await expect(open()).rejects.toMatchObject({ code: 'JOURNAL_CORRUPT' });
    await repair('--yes');
    expect(await open()).toEqual([]);
  });

  it('goes from a snapshot when that gets further, and drops those that hold what is lost', async () => {
    rmSync(join(dir, 'journal'), { recursive: true });
    cpSync(packageFile('test', 'fixtures', 'journal', 'v2', 'journal'), join(dir, 'journal'), { recursive: true });
    const all = await open();
    expect(all[0]).toBe('snapshot');
    // What the snapshot holds is not needed any more.
    damage(segment(1));
    const { code, report } = await verify();
    expect([code, report.starts, report.damage?.segment]).toEqual([1, true, 'segment-000001']);
    expect(await repair()).toMatchObject({ code: 0, plan: { damage: null } });
    damage(segment(2), 0.7);
    const { plan } = await repair('--yes');
    expect(plan.damage?.segment).toBe('segment-000002');
    const kept = await open();
    expect(kept).toEqual(all.slice(0, kept.length));
    expect(kept.length).toBeGreaterThan(1);
    expect(kept.length).toBeLessThan(all.length);
  });
});

describe('export', () => {
  it('prints every record as a line of JSON', async () => {
    const { code, stdout } = await cli(['journal', 'export', dir]);
    const lines = stdout.trimEnd().split('\n');
    expect(code).toBe(0);
    const records = lines.map((line) => JSON.parse(line) as { sequence: number; epoch: number; record: unknown });
    expect(records.map(({ record }) => record)).toEqual(await open());
    expect(records.map(({ sequence }) => sequence)).toEqual(records.map((_, index) => index + 1));
  });

  it('stops at the damage', async () => {
    damage(segment(2));
    const { code, stdout, stderr } = await cli(['journal', 'export', dir]);
    const { report } = await verify();
    expect([code, stderr]).toEqual([1, expect.stringContaining('segment-000002, byte ')]);
    expect(stdout.trimEnd().split('\n')).toHaveLength((report.damage?.record ?? 0) - 1);
  });
});
