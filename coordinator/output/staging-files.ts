/** The open files of one job's output: the output file, and the staging segments in use. */
import { join } from 'node:path';
import { invariant } from '../../common/core/invariant.ts';
import { limits } from '../../common/core/limits.ts';
import type { FileSystem, OpenFile } from '../../common/ports/file-system.ts';
import type { Target } from './operations.ts';

/** Of the file with rows that are cut out of an earlier output. */
export const takenName = 'taken';

/** `segment-000001` */
export function stagingName(segment: number): string {
  return `segment-${String(segment).padStart(6, '0')}`;
}

/** Number of a staging segment's file; null for a file that is none. */
export function stagingNumber(name: string): number | null {
  const match = /^segment-(\d{6,})$/.exec(name);
  return match ? Number(match[1]) : null;
}

export class StagingFiles {
  readonly #fileSystem: FileSystem;
  readonly #stagingDir: string;
  readonly #segments = new Map<number, OpenFile>();
  /** Their names are on the disk. */
  readonly #named: Set<number>;
  /** Earlier outputs that are read as segments are: absolute paths. */
  readonly #bases: ReadonlyMap<number, string>;
  #output: OpenFile | null = null;

  constructor(
    fileSystem: FileSystem,
    stagingDir: string,
    named: Iterable<number>,
    bases: ReadonlyMap<number, string> = new Map(),
  ) {
    this.#bases = bases;
    this.#fileSystem = fileSystem;
    this.#stagingDir = stagingDir;
    this.#named = new Set(named);
  }

  set output(file: OpenFile | null) {
    this.#output = file;
  }

  async file(target: Target): Promise<OpenFile> {
    if (target !== null) return this.segment(target, 'create');
    invariant(this.#output !== null, 'the output file is written to after recover() and before it is sealed');
    return this.#output;
  }

  async segment(number: number, mode: 'create' | 'update' | 'replace'): Promise<OpenFile> {
    const known = this.#segments.get(number);
    if (known && mode !== 'replace') {
      this.#segments.delete(number);
      this.#segments.set(number, known);
      return known;
    }
    await this.closeSegment(number);
    // It may be another file than the one whose name is durable.
    if (mode === 'replace') this.#named.delete(number);
    const base = this.#bases.get(number);
    invariant(base === undefined || mode === 'update', `segment ${number} is an earlier output, which is only read`);
    const path = base ?? join(this.#stagingDir, stagingName(number));
    const file = await this.#fileSystem.open(path, base === undefined ? mode : 'read');
    this.#segments.set(number, file);
    return file;
  }

  /** Makes the names of new segments durable; one sync for all of them, none when all are. */
  async syncNames(numbers: readonly number[]): Promise<void> {
    const added = numbers.filter((number) => !this.#named.has(number));
    if (added.length === 0) return;
    await this.#fileSystem.syncDir(this.#stagingDir);
    for (const number of added) this.#named.add(number);
  }

  async closeSegment(number: number): Promise<void> {
    const file = this.#segments.get(number);
    this.#segments.delete(number);
    await file?.close();
  }

  /** One that is already gone is fine: a group is repeated as a whole when the disk was full. */
  async drop(number: number): Promise<void> {
    await this.closeSegment(number);
    this.#named.delete(number);
    // An earlier output stays until the job is sealed.
    if (this.#bases.has(number)) return;
    await this.#fileSystem.remove(join(this.#stagingDir, stagingName(number)));
  }

  /** Closes segments beyond the limit, least recently used first, except those still being uploaded. */
  async trim(inUse: ReadonlySet<number>): Promise<void> {
    for (const number of [...this.#segments.keys()]) {
      if (this.#segments.size <= limits.stagingFilesOpenMax) return;
      if (!inUse.has(number)) await this.closeSegment(number);
    }
  }

  async close(): Promise<void> {
    for (const number of [...this.#segments.keys()]) await this.closeSegment(number);
    const output = this.#output;
    // A job that is reopened lets go of it while all jobs do.
    this.#output = null;
    await output?.close();
  }
}
