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
 * removed when the node has joined. Logs stay, those of the newest jobs.
 */
import { readdir, rm, stat, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { JobName, NodeName } from '../common/core/ids.ts';
import { limits } from '../common/core/limits.ts';
import { formatToken, type Token } from '../common/core/token.ts';
import { errnoOf } from '../common/io/errno.ts';
import { makeFolder } from '../common/io/make-folder.ts';
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

  constructor(scratchDir: string, node: NodeName) {
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
    return makeEmpty(join(this.#jobDir(job), 'hosts', slotName(slot, part)));
  }

  /** Made new and empty: what an earlier host has left there is not of any attempt to come. */
  makeCustomDir(job: JobName, slot: number, part: 'shadow' | null = null): Promise<string> {
    return makeEmpty(join(this.#jobDir(job), 'custom', slotName(slot, part)));
  }

  /** Made new and empty, for a scoring host that may outlive its job. */
  async makeHostHome(host: number): Promise<HostHome> {
    const dir = await makeEmpty(join(this.#warmDir, `host-${host}`));
    const home = { dir, workDir: join(dir, 'work'), customDir: join(dir, 'custom'), logLink: join(dir, 'logs') };
    await makeFolder(home.workDir);
    await makeFolder(home.customDir);
    return home;
  }

  /** What the job before has left there goes; logs that user code keeps by itself go to those of `job` from here on. */
  async prepareHostHome({ workDir, customDir, logLink }: HostHome, job: JobName): Promise<void> {
    await removeAllBut(workDir, null);
    await removeAllBut(customDir, null);
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

  /** Everything of the job but its logs. */
  async removeJob(job: JobName): Promise<void> {
    await removeAllBut(this.#jobDir(job), 'logs');
  }

  /** Everything of all jobs but the logs of the newest ones. */
  async sweep(): Promise<void> {
    await rm(this.spoolDir, { recursive: true, force: true });
    await rm(this.#warmDir, { recursive: true, force: true });
    const kept: { readonly dir: string; readonly loggedMs: number }[] = [];
    for (const name of await listDir(this.#jobsDir)) {
      const dir = join(this.#jobsDir, name);
      await removeAllBut(dir, 'logs');
      const loggedMs = await changedAt(join(dir, 'logs'));
      if (loggedMs === null) await rm(dir, { recursive: true, force: true });
      else kept.push({ dir, loggedMs });
    }
    kept.sort((a, b) => b.loggedMs - a.loggedMs);
    for (const { dir } of kept.slice(limits.jobLogsKept)) await rm(dir, { recursive: true, force: true });
  }

  #jobDir(job: JobName): string {
    return confine(this.#jobsDir, job);
  }
}

function slotName(slot: number, part: 'shadow' | null): string {
  return part === null ? `slot-${slot + 1}` : `slot-${slot + 1}-${part}`;
}

async function makeEmpty(dir: string): Promise<string> {
  await rm(dir, { recursive: true, force: true });
  await makeFolder(dir);
  return dir;
}

async function removeAllBut(dir: string, kept: string | null): Promise<void> {
  for (const name of await listDir(dir)) {
    if (name !== kept) await rm(join(dir, name), { recursive: true, force: true });
  }
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
