/**
 * Who did what: one line of JSON for each request that changes something or is refused, in `audit.jsonl` of the state
 * directory. Bodies and tokens are never in it. Lines are written by and by, in order, by one writer.
 */
import { appendFile, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { limits } from '../../common/core/limits.ts';
import type { Clock } from '../../common/io/clock.ts';
import { errnoOf, reasonOf } from '../../common/io/errno.ts';
import type { Log } from '../../common/io/log.ts';

export interface AuditEntry {
  /** Null: nobody that is known. */
  readonly user: string | null;
  readonly tokenId: string | null;
  /** Address of the peer; null where there is none. */
  readonly remote: string | null;
  readonly method: string;
  readonly path: string;
  /** What it was about, such as `jobs/digits-1`; null: nothing in particular. */
  readonly resource: string | null;
  /** HTTP status of the answer. */
  readonly status: number;
}

/** As it stands in the file. */
export interface AuditLine {
  readonly time: string;
  readonly user: string | null;
  readonly token_id: string | null;
  readonly remote: string | null;
  readonly method: string;
  readonly path: string;
  readonly resource: string | null;
  readonly status: number;
  /** Refusals of strangers that were left out since the line before, because there were too many. */
  readonly left_out?: number;
}

export interface AuditLogOptions {
  readonly stateDir: string;
  readonly clock: Clock;
  readonly log: Log;
}

export class AuditLog {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #log: Log;
  #pending: string[] = [];
  #writing: Promise<void> = Promise.resolve();
  #isScheduled = false;
  #windowBegan = 0;
  #strangers = 0;
  #leftOut = 0;

  constructor({ stateDir, clock, log }: AuditLogOptions) {
    this.#path = join(stateDir, 'audit.jsonl');
    this.#clock = clock;
    this.#log = log;
  }

  record(entry: AuditEntry): void {
    if (entry.user === null && this.#isTooMuch()) return;
    const { user, tokenId, remote, method, path, resource, status } = entry;
    const line: AuditLine = {
      time: new Date(this.#clock.wall()).toISOString(),
      ...{ user, token_id: tokenId, remote, method, path: path.slice(0, limits.auditPathCharsMax), resource, status },
      ...(this.#leftOut > 0 ? { left_out: this.#leftOut } : {}),
    };
    this.#leftOut = 0;
    this.#pending.push(`${JSON.stringify(line)}\n`);
    this.#schedule();
  }

  /** The newest first, older than `before` (a time as in the lines) when it is given. */
  async read(limit: number, before: string | null): Promise<readonly AuditLine[]> {
    await this.settled();
    const found: AuditLine[] = [];
    for (let number = 0; number <= limits.auditFilesMax && found.length < limit; number += 1) {
      const text = await readFile(this.#file(number), 'utf8').catch(ifMissing);
      if (text === null) break;
      for (const line of text.split('\n').reverse()) {
        const parsed = parseLine(line);
        if (!parsed || (before !== null && parsed.time >= before)) continue;
        if (found.push(parsed) >= limit) break;
      }
    }
    return found;
  }

  /** Resolves when all that was recorded is written. */
  async settled(): Promise<void> {
    while (this.#pending.length > 0 || this.#isScheduled) {
      this.#isScheduled = false;
      this.#writing = this.#writing.then(() => this.#write());
      await this.#writing;
    }
    await this.#writing;
  }

  /** Whoever is not known must not be able to push others' lines out of the log. */
  #isTooMuch(): boolean {
    const now = this.#clock.monotonic();
    if (now - this.#windowBegan > limits.apiRequestsWindowMs) {
      this.#windowBegan = now;
      this.#strangers = 0;
    }
    this.#strangers += 1;
    if (this.#strangers <= limits.auditStrangersMax) return false;
    this.#leftOut += 1;
    return true;
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      if (!this.#isScheduled) return;
      this.#isScheduled = false;
      this.#writing = this.#writing.then(() => this.#write());
    });
  }

  /** A full disk must not end the coordinator: jobs say what is wrong with it, and the lines are told to the log. */
  async #write(): Promise<void> {
    const lines = this.#pending;
    if (lines.length === 0) return;
    this.#pending = [];
    try {
      await this.#putAside();
      await appendFile(this.#path, lines.join(''), { mode: 0o600 });
    } catch (error) {
      this.#log.warn('the audit log cannot be written', { lines: lines.length, reason: reasonOf(error) });
    }
  }

  async #putAside(): Promise<void> {
    const sizeBytes = await stat(this.#path).then((found) => found.size, ifMissing);
    if (sizeBytes === null || sizeBytes < limits.auditFileBytesMax) return;
    await rm(this.#file(limits.auditFilesMax), { force: true });
    for (let number = limits.auditFilesMax - 1; number >= 0; number -= 1) {
      await rename(this.#file(number), this.#file(number + 1)).catch(ifMissing);
    }
  }

  /** 0: the one that is written; a higher number is an older file. */
  #file(number: number): string {
    return number === 0 ? this.#path : `${this.#path}.${number}`;
  }
}

function ifMissing(error: unknown): null {
  if (errnoOf(error) === 'ENOENT') return null;
  throw error;
}

/** Null for what a crash has left of a line. */
function parseLine(line: string): AuditLine | null {
  try {
    return line === '' ? null : (JSON.parse(line) as AuditLine);
  } catch {
    return null;
  }
}
