/** Single checks of `doctor`: from what was found to a line with a verdict. Pure; shared by all machines that are looked at. */
import type { Room, SeenPath } from '../../common/core/diagnosis.ts';
import { limits } from '../../common/core/limits.ts';

export const verdicts = ['ok', 'warn', 'fail'] as const;
export type Verdict = (typeof verdicts)[number];

export interface DoctorLine {
  /** `here`, `coordinator`, or the name of a worker node. */
  readonly subject: string;
  readonly check: string;
  readonly verdict: Verdict;
  readonly found: string;
  /** What to do; empty where all is well. */
  readonly mend: string;
}

/** A line without the machine that it is about. */
export type Finding = Omit<DoctorLine, 'subject'>;

export function ok(check: string, found: string): Finding {
  return { check, verdict: 'ok', found, mend: '' };
}
export function warn(check: string, found: string, mend: string): Finding {
  return { check, verdict: 'warn', found, mend };
}
export function fail(check: string, found: string, mend: string): Finding {
  return { check, verdict: 'fail', found, mend };
}

export function about(subject: string, findings: readonly Finding[]): readonly DoctorLine[] {
  return findings.map((finding) => ({ subject, ...finding }));
}

/** `release` beside that of the coordinator. */
export function releaseFinding(release: string, wanted: string): Finding {
  if (release === wanted) return ok('release', release);
  return warn('release', `${release}, the coordinator has ${wanted}`, 'run the same release on all machines');
}

/** `runtime`: `20.20.0`. `wanted`: as `engines` of package.json has it, `>=20.19`. */
export function runtimeFinding(runtime: string, wanted: string): Finding {
  const [major = 0, minor = 0] = runtime.split('.').map(Number);
  const [wantedMajor = 0, wantedMinor = 0] = wanted.replace(/^\D+/, '').split('.').map(Number);
  const isOld = major < wantedMajor || (major === wantedMajor && minor < wantedMinor);
  return isOld ? fail('node', runtime, `install Node ${wanted}`) : ok('node', runtime);
}

/** Milliseconds that another clock is ahead of the coordinator's (behind: below zero), give or take `errorMs`. */
export interface ClockOffset {
  readonly aheadMs: number;
  readonly errorMs: number;
}

/** Two clocks from one question: asked and heard by the one, received and sent by the other. @source RFC 5905, section 8 */
export function clockOffset(times: {
  readonly askedMs: number;
  readonly receivedMs: number;
  readonly sentMs: number;
  readonly heardMs: number;
}): ClockOffset {
  const { askedMs, receivedMs, sentMs, heardMs } = times;
  const aheadMs = (receivedMs - askedMs + (sentMs - heardMs)) / 2;
  return { aheadMs, errorMs: Math.max(0, heardMs - askedMs - (sentMs - receivedMs)) / 2 };
}

const clockWarnMs = 1_000;
const clockFailMs = 60_000;

/** Only what is sure counts: a slow answer is no wrong clock. */
export function clockFinding({ aheadMs, errorMs }: ClockOffset): Finding {
  const sureMs = Math.abs(aheadMs) - errorMs;
  const side = aheadMs < 0 ? 'behind' : 'ahead of';
  const found = `${secondsText(Math.abs(aheadMs))} ${side} the coordinator (± ${secondsText(errorMs)})`;
  const mend = 'set the clocks by the same time server, such as with chrony or systemd-timesyncd';
  if (sureMs > clockFailMs) return fail('clock', found, mend);
  return sureMs > clockWarnMs ? warn('clock', found, mend) : ok('clock', found);
}

const roomWarnBytes = 10_000_000_000;

/** What the coordinator keeps free on a disk: below it, it hands out nothing. */
export function reserveBytesOf({ totalBytes }: Room): number {
  return Math.min(limits.diskReserveBytes, limits.diskReserveShare * totalBytes);
}

/** `reserveBytes`: what must be free there. */
export function roomFinding(dir: string, room: Room | null, reserveBytes: number, mend: string): Finding {
  if (room === null) return fail('disk', `the room of ${dir} cannot be told`, `see that ${dir} is there and answers`);
  const found = `${bytesText(room.freeBytes)} free of ${bytesText(room.totalBytes)} at ${dir}`;
  if (room.freeBytes < reserveBytes) return fail('disk', found, `${mend}; ${bytesText(reserveBytes)} must be free`);
  return room.freeBytes < roomWarnBytes ? warn('disk', found, mend) : ok('disk', found);
}

/** It is renewed when a third of its life is left; with less than a sixth, that has not worked for long. */
export function certificateFinding(endsMs: number, nowMs: number, lifeMs: number, mend: string): Finding {
  const ends = new Date(endsMs).toISOString().slice(0, 16);
  if (endsMs <= nowMs) return fail('certificate', `ended ${ends}Z`, mend);
  const found = `good until ${ends}Z`;
  return endsMs - nowMs < lifeMs / 6
    ? warn('certificate', `${found}, and not renewed yet`, mend)
    : ok('certificate', found);
}

/** What one machine sees at a path, beside what the coordinator sees there. */
export function pathFinding(path: string, here: SeenPath, coordinator: SeenPath): Finding {
  const check = `path ${path}`;
  const found = seenText(here);
  const mount = 'mount the same storage at the same place on all machines';
  if (here.kind === 'unseen') return fail(check, found, 'see that its mount answers and that this user may read it');
  const isThere = here.kind !== 'missing';
  const isThereToo = coordinator.kind !== 'missing';
  if (coordinator.kind === 'unseen') return warn(check, `${found}; the coordinator could not look`, mount);
  if (!isThere && !isThereToo)
    return warn(check, `${found}, on the coordinator neither`, 'see that it is spelled right');
  if (!isThere) {
    const other = `${mount}; inputs alone are sent to a node that does not see them`;
    return fail(check, `${found}; on the coordinator ${seenText(coordinator)}`, other);
  }
  if (!isThereToo) return fail(check, `${found}; on the coordinator it is not there`, mount);
  const difference = differenceOf(here, coordinator);
  return difference === null
    ? ok(check, `${found}, the same as on the coordinator`)
    : fail(check, `not what the coordinator sees: ${difference}`, mount);
}

/** The coordinator's own look. */
export function ownPathFinding(path: string, seen: SeenPath): Finding {
  const check = `path ${path}`;
  if (seen.kind === 'missing') return fail(check, seenText(seen), 'see that it is spelled right and mounted');
  if (seen.kind === 'unseen') {
    return fail(check, seenText(seen), 'see that its mount answers and that this user may read it');
  }
  return ok(check, seenText(seen));
}

/** Null: the same, so far as was looked. */
function differenceOf(a: SeenPath, b: SeenPath): string | null {
  if (a.kind !== b.kind) return `${seenText(a)} here, ${seenText(b)} there`;
  if (a.kind === 'file' && b.kind === 'file') {
    return a.identity === b.identity ? null : `${seenText(a)} here, ${seenText(b)} there`;
  }
  if (a.kind !== 'folder' || b.kind !== 'folder') return null;
  if (a.entries !== b.entries) return `${seenText(a)} here, ${seenText(b)} there`;
  // Of what was not counted to its end any names were taken.
  if (a.hasMore || b.hasMore) return null;
  const place = a.names.findIndex((name, index) => name !== b.names[index]);
  if (place < 0) return null;
  return `${JSON.stringify(a.names[place])} here, ${JSON.stringify(b.names[place] ?? '')} there`;
}

function seenText(seen: SeenPath): string {
  switch (seen.kind) {
    case 'missing':
      return 'not there';
    case 'file': {
      const [size = '', changed = ''] = seen.identity.split('-');
      // Nanoseconds since 1970: two that differ by less than a millisecond are told apart all the same.
      const seconds = `${changed.slice(0, -9)}.${changed.slice(-9)}`;
      return `a file of ${size} bytes, changed at ${seconds}`;
    }
    case 'folder':
      return `a folder of ${seen.hasMore ? 'more than ' : ''}${seen.entries} ${seen.entries === 1 ? 'entry' : 'entries'}`;
    case 'other':
      return 'neither file nor folder';
    case 'unseen':
      return seen.problem;
  }
}

export function bytesText(bytes: number): string {
  const [unit, size] = bytes >= 1e12 ? ['TB', 1e12] : bytes >= 1e9 ? ['GB', 1e9] : ['MB', 1e6];
  return `${(bytes / (size as number)).toFixed(1)} ${unit}`;
}

export function secondsText(ms: number): string {
  return ms < 1_000 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(1)} s`;
}
