/**
 * Settings of the processes: flags before environment before default, resolved once. The only place, with the entry
 * files of host processes, that reads the environment.
 */
import { availableParallelism, homedir, hostname, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { BatchError } from '../core/batch-error.ts';
import type { NodeLabels } from '../core/cluster-messages.ts';
import { isNodeName } from '../core/ids.ts';
import { limits } from '../core/limits.ts';
import { systemClock } from '../io/clock.ts';
import { parseFingerprint } from '../security/fingerprint.ts';
import { parseAddress, parseAddresses, type Address } from './address.ts';
import { memoryBytes } from './field-types.ts';
import { natsSettings, type NatsSettings } from './nats-settings.ts';
import { parseJournalLocation, type JournalLocation } from './journal-location.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** What `coordinator start` runs with. */
export interface CoordinatorSettings {
  /** For worker nodes (gRPC). */
  readonly listen: Address;
  /** For people and programs. */
  readonly http: Address;
  /** Absolute. */
  readonly stateDir: string;
  /** Neither TLS nor tokens: whoever reaches the ports may do everything. */
  readonly isInsecure: boolean;
  /** How long the join token of this start passes. */
  readonly joinTokenMs: number;
  /** Null: grows with the number of worker nodes. */
  readonly heartbeatMs: number | null;
  /** Jobs that ended longer ago are forgotten; null: none is. */
  readonly keepFinishedMs: number | null;
  /** Results that may wait for their turn on the coordinator's disk. */
  readonly stagingBytesMax: number;
  /** Of a second copy of the journal; null: the state directory has the only one. */
  readonly journal: JournalLocation | null;
  /** One of several coordinators of a cluster, of which one leads; `stateDir` is then the same folder for all. */
  readonly isStandby: boolean;
  /** How NATS is spoken with. */
  readonly nats: NatsSettings;
  /** Absolute; lock and journal of this process alone. Null: they lie in the state directory. */
  readonly localDir: string | null;
}

/** What `worker join` runs with. */
export interface WorkerSettings {
  /** Of the coordinators, any of which may lead. */
  readonly coordinators: readonly [Address, ...Address[]];
  /** Null: the certificate that the node has from before. */
  readonly token: string | null;
  /** Of the cluster's authority, as the join line has it; null: the one that the node has joined before. */
  readonly fingerprint: string | null;
  /** In the clear, as a coordinator of `--insecure` serves. */
  readonly isInsecure: boolean;
  readonly slots: number;
  /** What computes choose nodes by. */
  readonly labels: NodeLabels;
  readonly name: string;
  /** When the node will have left, by the wall clock; null: it stays. */
  readonly untilWallMs: number | null;
  /** Interpreter for Python scoring scripts: a path, or a name to look up on PATH. */
  readonly python: string;
  /** Absolute; for models, code and prefetched inputs. */
  readonly scratchDir: string;
  /** Results that may wait for the coordinator. */
  readonly spoolBytesMax: number;
  /** Models and code on this machine; beyond it what has not been used for longest goes. */
  readonly cacheBytesMax: number;
  /** Models and code travel between worker nodes too, which this one lets in on a free port. */
  readonly peers: boolean;
}

/** Values as commander gives them; `undefined` is "not given". */
export interface CoordinatorFlags {
  readonly listen?: string | undefined;
  readonly http?: string | undefined;
  readonly stateDir?: string | undefined;
  readonly insecure?: boolean | undefined;
  readonly joinTokenTtl?: string | undefined;
  readonly heartbeatInterval?: string | undefined;
  readonly keepFinishedJobs?: string | undefined;
  readonly stagingBytes?: string | undefined;
  readonly journal?: string | undefined;
  readonly acceptLossyJournal?: boolean | undefined;
  readonly standby?: boolean | undefined;
  readonly localDir?: string | undefined;
}

export interface WorkerFlags {
  readonly token?: string | undefined;
  readonly caFingerprint?: string | undefined;
  readonly insecure?: boolean | undefined;
  readonly slots?: string | undefined;
  /** Each `key=value`. */
  readonly label?: readonly string[] | undefined;
  readonly until?: string | undefined;
  readonly name?: string | undefined;
  readonly python?: string | undefined;
  readonly scratchDir?: string | undefined;
  readonly spoolBytes?: string | undefined;
  readonly cacheBytes?: string | undefined;
  readonly peers?: boolean | undefined;
}

/** @throws USAGE for a value of the wrong form */
export function coordinatorSettings(
  flags: CoordinatorFlags,
  environment: Environment = process.env,
): CoordinatorSettings {
  const pick = picker(environment);
  return requireStandby({
    listen: pick('--listen', flags.listen, '127.0.0.1:7077', parseAddress),
    http: pick('--http', flags.http, '127.0.0.1:7078', parseAddress),
    stateDir: stateDirSetting(flags.stateDir, environment),
    isInsecure: pick('BATCHMILL_INSECURE', flags.insecure ? 'true' : undefined, 'false', asTruth),
    joinTokenMs: pick('--join-token-ttl', flags.joinTokenTtl, '24h', asAgeMs),
    heartbeatMs: pick('--heartbeat-interval', flags.heartbeatInterval, 'auto', (text, what) =>
      text === 'auto' ? null : asDurationMs(text, what),
    ),
    keepFinishedMs: pick('--keep-finished-jobs', flags.keepFinishedJobs, 'always', (text, what) =>
      text === 'always' ? null : asAgeMs(text, what),
    ),
    stagingBytesMax: pick('--staging-bytes', flags.stagingBytes, String(limits.stagingBytesMax), asBytes),
    journal: pick('--journal', flags.journal, '', (text, what) =>
      text === '' ? null : parseJournalLocation(text, what),
    ),
    nats: natsSettings(environment, flags.acceptLossyJournal ?? false),
    isStandby: pick('BATCHMILL_STANDBY', flags.standby ? 'true' : undefined, 'false', asTruth),
    localDir: pick('--local-dir', flags.localDir, '', (text, what) => (text === '' ? null : asPath(text, what))),
  });
}

/** @throws USAGE where a standby has not what it needs */
function requireStandby(settings: CoordinatorSettings): CoordinatorSettings {
  const { isStandby, journal, localDir, stateDir } = settings;
  if (!isStandby) return settings;
  if (journal === null)
    throw new BatchError('USAGE', '--standby needs --journal nats://…: a standby follows the journal there');
  if (localDir === null || localDir === stateDir) {
    throw new BatchError(
      'USAGE',
      '--standby needs --local-dir, a folder of this machine for its own copy of the journal; --state-dir is on storage that all coordinators have',
    );
  }
  return settings;
}

/** Absolute; of the coordinator of this folder unless said otherwise. */
export function stateDirSetting(flag: string | undefined, environment: Environment = process.env): string {
  return picker(environment)('--state-dir', flag, '.batchmill', asPath);
}

/** `coordinator` is HOST:PORT as given to `worker join`, several with commas between. @throws USAGE */
export function workerSettings(
  coordinator: string,
  flags: WorkerFlags,
  environment: Environment = process.env,
  nowMs: number = systemClock.wall(),
): WorkerSettings {
  const pick = picker(environment);
  return {
    coordinators: parseAddresses(coordinator, 'HOST:PORT'),
    token: pick('--token', flags.token, '', (text) => (text === '' ? null : text)),
    fingerprint: pick('--ca-fingerprint', flags.caFingerprint, '', (text, what) =>
      text === '' ? null : parseFingerprint(text, what),
    ),
    isInsecure: pick('BATCHMILL_INSECURE', flags.insecure ? 'true' : undefined, 'false', asTruth),
    slots: pick('--slots', flags.slots, environment['SLURM_CPUS_PER_TASK'] || String(availableParallelism()), asCount),
    labels: pick('--label', flags.label?.join(','), '', asLabels),
    name: pick('--name', flags.name, defaultNodeName(environment), asName),
    untilWallMs: pick('--until', flags.until, environment['SLURM_JOB_END_TIME'] ?? '', (text, what) =>
      text === '' ? null : asMoment(text, what, nowMs),
    ),
    python: pythonSetting(flags.python, environment),
    scratchDir: pick('--scratch-dir', flags.scratchDir, join(tmpdir(), 'batchmill'), asPath),
    spoolBytesMax: pick('--spool-bytes', flags.spoolBytes, String(limits.spoolBytesMax), asBytes),
    cacheBytesMax: pick('--cache-bytes', flags.cacheBytes, String(limits.artifactCacheBytesMax), asBytes),
    peers: pick('BATCHMILL_PEERS', flags.peers === false ? 'false' : undefined, 'true', asTruth),
  };
}

/**
 * Tasks of one Slurm job have names of their own, also where several run on one machine.
 * @source Slurm: output environment variables of srun
 */
function defaultNodeName(environment: Environment): string {
  const { SLURM_JOB_ID: job, SLURM_STEP_ID: step = 'batch', SLURM_PROCID: task = '0' } = environment;
  return job ? `slurm-${job}.${step}.${task}` : hostname();
}

/** A time to come by the wall clock: how long from now, ISO 8601, or seconds since 1970 as Slurm has it. */
function asMoment(text: string, what: string, nowMs: number): number {
  const given = text.trim();
  if (/^\d{1,6}[smhd]$/.test(given)) return nowMs + asAgeMs(given, what);
  const at = /^\d{9,11}$/.test(given) ? Number(given) * 1_000 : Date.parse(given);
  if (Number.isFinite(at) && at > nowMs) return at;
  const found = Number.isFinite(at) ? `${text}, which is past` : JSON.stringify(text);
  throw new BatchError('USAGE', `${what}: wanted a time to come such as 50m or 2026-11-22T15:00:00Z, found ${found}`);
}

/** Slots of a worker node: the processors that this process may use, unless said otherwise. @throws USAGE */
export function slotsSetting(flag: string | undefined, environment: Environment = process.env): number {
  return picker(environment)('--slots', flag, String(availableParallelism()), asCount);
}

/** Interpreter for Python scoring scripts. */
export function pythonSetting(flag: string | undefined, environment: Environment = process.env): string {
  return picker(environment)('--python', flag, 'python3', asNonEmpty);
}

/** Tool that makes conda environments: a path or a name; null: micromamba, mamba or conda, whichever is on PATH. */
export function condaSetting(environment: Environment): string | null {
  return environment['BATCHMILL_CONDA'] || null;
}

/** Where `run`, whose other files go with it, keeps built environments for the next time. Absolute. */
export function environmentsDirSetting(environment: Environment = process.env): string {
  const cache = environment['XDG_CACHE_HOME'] || join(environment['HOME'] || homedir(), '.cache');
  return resolve(cache, 'batchmill', 'environments');
}

/** Colour is wanted on a terminal unless NO_COLOR says otherwise. @source no-color.org */
export function isColorWanted(isTerminal: boolean, environment: Environment = process.env): boolean {
  return isTerminal && !environment['NO_COLOR'] && environment['TERM'] !== 'dumb';
}

/** The environment of this process, for the command line to hand on. */
export function commandEnvironment(): Environment {
  return process.env;
}

/** A whole number from 1 up, as flags give it. @throws USAGE */
export function asCount(text: string, what: string): number {
  const count = Number(text);
  if (/^\d{1,6}$/.test(text.trim()) && count >= 1) return count;
  throw new BatchError('USAGE', `${what}: wanted a whole number from 1 to 999999, found ${JSON.stringify(text)}`);
}

type Read<T> = (text: string, what: string) => T;
type Pick = <T>(flag: string, given: string | undefined, fallback: string, read: Read<T>) => T;

/** `--state-dir` is also `BATCHMILL_STATE_DIR`; an empty variable counts as unset. */
function picker(environment: Environment): Pick {
  return (flag, given, fallback, read) => {
    const variable = flag.startsWith('--') ? `BATCHMILL_${flag.slice(2).toUpperCase().replaceAll('-', '_')}` : flag;
    if (given !== undefined) return read(given, flag);
    const set = environment[variable];
    return set ? read(set, variable) : read(fallback, flag);
  };
}

const asPath: Read<string> = (text, what) => resolve(asNonEmpty(text, what));

function asNonEmpty(text: string, what: string): string {
  if (text !== '') return text;
  throw new BatchError('USAGE', `${what}: wanted a value, found nothing`);
}

function asTruth(text: string, what: string): boolean {
  if (/^(1|true|yes)$/i.test(text)) return true;
  if (/^(0|false|no)$/i.test(text)) return false;
  throw new BatchError('USAGE', `${what}: wanted true or false, found ${JSON.stringify(text)}`);
}

function asName(text: string, what: string): string {
  if (isNodeName(text)) return text;
  throw new BatchError(
    'USAGE',
    `${what}: wanted letters, digits, ".", "_" and "-", at most 128, found ${JSON.stringify(text)}`,
  );
}

/** `key=value`, more than one with commas between. @throws USAGE */
export function asLabels(text: string, what: string): NodeLabels {
  const labels: Record<string, string> = {};
  for (const part of text.split(',').filter((one) => one !== '')) {
    const [, key, value] = /^([a-z0-9][\w./-]{0,62})=([\w./:@-]{1,63})$/i.exec(part.trim()) ?? [];
    if (key === undefined || value === undefined || (labels[key] ?? value) !== value) {
      throw new BatchError(
        'USAGE',
        `${what}: wanted labels such as gpu=a100, each key once, found ${JSON.stringify(part)}`,
      );
    }
    labels[key] = value;
  }
  return labels;
}

function asBytes(text: string, what: string): number {
  const bytes = memoryBytes.safeParse(text);
  if (bytes.success) return bytes.data;
  throw new BatchError(
    'USAGE',
    `${what}: wanted a size such as 64GB or 512MB, at least 1MB, found ${JSON.stringify(text)}`,
  );
}

function asDurationMs(text: string, what: string): number {
  const [, amount, unit] = /^(\d+(?:\.\d+)?)(ms|s)?$/.exec(text.trim()) ?? [];
  const ms = Math.round(Number(amount) * (unit === 'ms' ? 1 : 1_000));
  if (ms >= 1 && ms <= 3_600_000) return ms;
  throw new BatchError(
    'USAGE',
    `${what}: wanted a time such as 5s or 500ms, up to an hour, found ${JSON.stringify(text)}`,
  );
}

const ageUnitsMs: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** A long time as flags give it: `30d`, `12h`, `90m`, `45s`. @throws USAGE */
export function asAgeMs(text: string, what: string): number {
  const [, amount, unit = ''] = /^(\d{1,6})([smhd])$/.exec(text.trim()) ?? [];
  if (amount !== undefined) return Number(amount) * (ageUnitsMs[unit] ?? 0);
  throw new BatchError('USAGE', `${what}: wanted a time such as 30d, 12h or 90m, found ${JSON.stringify(text)}`);
}
