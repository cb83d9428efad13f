/**
 * Where a worker node keeps things in its scratch folder:
 *
 *   artifacts/…                                models and code, shared by all nodes that use the folder
 *   environments/…                             built environments, shared in the same way
 *   call-sizes.json                            what calls of models were found to be best at, shared too
 *   nodes/<node>/lock                          which process it is
 *   nodes/<node>/identity/                     the node's key and certificate
 *   nodes/<node>/spool/                        results too large for memory
 *   nodes/<node>/warm/host-N/                  folders of a scoring host that may serve several jobs, emptied between them
 *   nodes/<node>/jobs/<job>/<token>/           fetched inputs of an attempt
 *   nodes/<node>/jobs/<job>/hosts/slot-N/      working directory of a scoring host
 *   nodes/<node>/jobs/<job>/custom/slot-N/     where user code writes files (AZUREML_BI_OUTPUT_PATH)
 *   nodes/<node>/jobs/<job>/logs/user/…        what scoring hosts print, their errors, and logs that user code keeps by itself
 *   nodes/<node>/jobs/<job>/logs/sys/…         what the node notes of each mini-batch
 *
 * The lock makes a node's name its own among live ones, so what an earlier process of that name has left is nobody's: it is
 * removed when the node has joined. Logs stay, those of the newest jobs. What cannot be removed, because user code closed it or
 * left a process that still writes there, is moved aside and told; it is no error of any job.
 */
import { randomUUID } from 'node:crypto';
import { chmod, readdir, rename, rm, stat, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { BatchError } from '../common/core/batch-error.ts';
import type { JobName, NodeName } from '../common/core/ids.ts';
import { limits } from '../common/core/limits.ts';
import { formatToken, type Token } from '../common/core/token.ts';
import { errnoOf, reasonOf } from '../common/io/errno.ts';
import { silentLog, type Log } from '../common/io/log.ts';
import { makeFolder } from '../common/io/make-folder.ts';
import { removeForeign } from '../common/io/remove-foreign.ts';
import { confine } from '../common/storage/confine.ts';

/** Folders of a scoring host that may serve several jobs: their paths stay, what is in them does not. */
export interface HostHome {
  readonly dir: string;
  readonly workDir: string;
  readonly customDir: string;
  /** Leads to the logs of the job that it serves. */
  readonly logLink: string;
}

export class NodeFiles {
  readonly artifactsDir: string;
  readonly environmentsDir: string;
  readonly callSizesFile: string;
  readonly spoolDir: string;
  readonly identityDir: string;
  readonly lockFile: string;
  readonly #jobsDir: string;
  readonly #warmDir: string;
  readonly #log: Log;

  /** `log` hears of what remains. */
  constructor(scratchDir: string, node: NodeName, log: Log = silentLog) {
    this.#log = log;
    const nodeDir = confine(join(scratchDir, 'nodes'), node);
    this.artifactsDir = join(scratchDir, 'artifacts');
    this.environmentsDir = join(scratchDir, 'environments');
    this.callSizesFile = join(scratchDir, 'call-sizes.json');
    this.spoolDir = join(nodeDir, 'spool');
    this.identityDir = join(nodeDir, 'identity');
    this.lockFile = join(nodeDir, 'lock');
    this.#jobsDir = join(nodeDir, 'jobs');
    this.#warmDir = join(nodeDir, 'warm');
  }

  inputsDir(job: JobName, token: Token): string {
    return join(this.#jobDir(job), formatToken(token));
  }

  /** Made new and empty. `part`: of the job's shadow; null: of its own scorer. */
  makeHostDir(job: JobName, slot: number, part: 'shadow' | null = null): Promise<string> {
    return this.#makeEmpty(join(this.#jobDir(job), 'hosts', slotName(slot, part)));
  }

  /** Made new and empty: what an earlier host has left there is not of any attempt to come. */
  makeCustomDir(job: JobName, slot: number, part: 'shadow' | null = null): Promise<string> {
    return this.#makeEmpty(join(this.#jobDir(job), 'custom', slotName(slot, part)));
  }

  /** Made new and empty, for a scoring host that may outlive its job. */
  async makeHostHome(host: number): Promise<HostHome> {
    const dir = await this.#makeEmpty(join(this.#warmDir, `host-${host}`));
    const home = { dir, workDir: join(dir, 'work'), customDir: join(dir, 'custom'), logLink: join(dir, 'logs') };
    await makeFolder(home.workDir);
    await makeFolder(home.customDir);
    return home;
  }

  /** What the job before has left there goes; logs that user code keeps by itself go to those of `job` from here on. @throws STATE_UNWRITABLE */
  async prepareHostHome({ dir, workDir, customDir, logLink }: HostHome, job: JobName): Promise<void> {
    for (const folder of [workDir, customDir]) {
      for (const name of await listDir(folder)) await this.#clear(join(folder, name), dir);
      await makeFolder(folder);
    }
    await rm(logLink, { force: true });
    await makeFolder(this.userLogsDir(job));
    await symlink(this.userLogsDir(job), logLink);
  }

  /** What the node's part of the job's log tree is made from; stays when the job has ended. */
  logsDir(job: JobName): string {
    return join(this.#jobDir(job), 'logs');
  }

  /** Where user code keeps logs by itself (HostInit.logDir). */
  userLogsDir(job: JobName, part: 'shadow' | null = null): string {
    return join(this.logsDir(job), 'user', part ?? '');
  }

  /** The first number that no log of the job here bears: an earlier process of this node may have left some. */
  async firstFreeProcess(job: JobName): Promise<number> {
    let free = 0;
    for (const folder of ['user/stdout', 'user/stderr', 'user/error', 'sys/mini_batches']) {
      for (const name of await listDir(join(this.logsDir(job), folder))) {
        const [, digits] = /^process(\d+)\./.exec(name) ?? [];
        if (digits !== undefined) free = Math.max(free, Number(digits) + 1);
      }
    }
    return free;
  }

  /** Of a host that is gone. */
  async removeHostHome({ dir }: HostHome): Promise<void> {
    await this.#remove(dir);
  }

  /** Everything of the job but its logs. */
  async removeJob(job: JobName): Promise<void> {
    await this.#removeAllButLogs(this.#jobDir(job));
  }

  /** Everything of all jobs but the logs of the newest ones. */
  async sweep(): Promise<void> {
    await this.#remove(this.spoolDir);
    await this.#remove(this.#warmDir);
    const kept: { readonly dir: string; readonly loggedMs: number }[] = [];
    for (const name of await listDir(this.#jobsDir)) {
      const dir = join(this.#jobsDir, name);
      await this.#removeAllButLogs(dir);
      const loggedMs = name.startsWith(asidePrefix) ? null : await changedAt(join(dir, 'logs'));
      if (loggedMs === null) await this.#remove(dir);
      else kept.push({ dir, loggedMs });
    }
    kept.sort((a, b) => b.loggedMs - a.loggedMs);
    for (const { dir } of kept.slice(limits.jobLogsKept)) await this.#remove(dir);
  }

  async #removeAllButLogs(dir: string): Promise<void> {
    for (const name of await listDir(dir)) if (name !== 'logs') await this.#remove(join(dir, name));
  }

  async #remove(path: string): Promise<void> {
    try {
      await removeForeign(path);
    } catch (error) {
      this.#log.warn(remainsText, { path, reason: reasonOf(error) });
    }
  }

  async #makeEmpty(dir: string): Promise<string> {
    await this.#clear(dir, dirname(dir));
    await makeFolder(dir);
    return dir;
  }

  /** Nothing has that path afterwards; what cannot be removed is in `asideDir` until the job or the node ends. @throws STATE_UNWRITABLE */
  async #clear(path: string, asideDir: string): Promise<void> {
    const aside = join(asideDir, `${asidePrefix}${randomUUID()}`);
    try {
      return await removeForeign(path);
    } catch (error) {
      // Only who may write to a folder may move it to another.
      await chmod(path, 0o700).catch(() => undefined);
      await rename(path, aside).catch((failure: unknown) => {
        const message = `${path} in the scratch folder of this worker node is in the way and cannot be removed: ${reasonOf(failure)}`;
        throw new BatchError('STATE_UNWRITABLE', message, { cause: failure });
      });
      this.#log.warn(remainsText, { path: aside, reason: reasonOf(error) });
    }
  }

  #jobDir(job: JobName): string {
    return confine(this.#jobsDir, job);
  }
}

const asidePrefix = '.removed-';
const remainsText = 'files that user code has left cannot be removed';

function slotName(slot: number, part: 'shadow' | null): string {
  return part === null ? `slot-${slot + 1}` : `slot-${slot + 1}-${part}`;
}

/** When something was last added to the folder; null when there is none. */
async function changedAt(dir: string): Promise<number | null> {
  try {
    return (await stat(dir)).mtimeMs;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return null;
    throw error;
  }
}

async function listDir(dir: string): Promise<readonly string[]> {
  try {
    return await readdir(dir);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return [];
    throw error;
  }
}
