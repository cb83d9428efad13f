/**
 * Deliberate damage to the program under test, one change of one source text each: a simulator that does not notice them proves
 * nothing. `npm run sim -- --mutations` plays them all.
 */

export interface Mutation {
  readonly name: string;
  /** What the damaged program does. */
  readonly what: string;
  readonly file: string;
  /** Stands there once. */
  readonly find: string;
  readonly replace: string;
}

/** Within so many seeds each must be noticed. */
export const seedsMax = 1_000;

export const mutations: readonly Mutation[] = [
  {
    name: 'fencing',
    what: 'takes results whatever the epoch of their token',
    file: 'coordinator/core/ledger.ts',
    find: 'if (token.epoch !== ledger.epoch) return undefined;\n  const lease',
    replace: 'const lease',
  },
  {
    name: 'second-pass',
    what: 'loses a silent node at once, without a second look',
    file: 'coordinator/core/decide-node.ts',
    find: "if (node.state !== 'suspect') return [{ kind: 'NodeSuspected', node: node.name }];",
    replace: '',
  },
  {
    name: 'stall-rule',
    what: 'does not take its own stall off the leases',
    file: 'coordinator/timers.ts',
    find: 'late > limits.stallMsMin ? late : 0',
    replace: 'late > Infinity ? late : 0',
  },
  {
    name: 'journal-fsync',
    what: 'does not sync the journal',
    file: 'coordinator/journal/segment-files.ts',
    find: 'await synced(() => current.file.datasync());\n    this.#current',
    replace: 'this.#current',
  },
  {
    name: 'journal-dir-fsync',
    what: 'does not sync the folder of a new segment of the journal',
    file: 'coordinator/journal/segment-files.ts',
    find: 'await synced(() => this.#fileSystem.syncDir(this.#dir));',
    replace: '',
  },
  {
    name: 'output-fsync',
    what: 'does not sync results',
    file: 'coordinator/output/output-writer.ts',
    find: 'await Promise.all(plan.touched.map(async (target) => (await files.file(target)).datasync()));',
    replace: '',
  },
  {
    name: 'segment-dir-fsync',
    what: 'does not sync the folder of staging segments',
    file: 'coordinator/output/output-writer.ts',
    find: 'await files.syncNames([...plan.touched.filter((target) => target !== null), ...plan.adopted]);',
    replace: '',
  },
  {
    name: 'truncation',
    what: 'does not cut the output to its committed end',
    file: 'coordinator/output/recover-output.ts',
    find: 'if (sizeBytes > wanted.outputEnd) await file.truncate(wanted.outputEnd);',
    replace: '',
  },
  {
    name: 'final-name',
    what: 'gives files of user code names that depend on the attempt',
    file: 'coordinator/output/custom-publish.ts',
    find: 'const path = isTaken ? `${file.path}~${job}` : file.path;',
    replace: 'const path = `${file.path}~${file.pieces[0]?.segment}`;',
  },
  {
    name: 'early-acknowledgement',
    what: 'tells a node that its result is committed before the journal is synced',
    file: 'coordinator/core/effects.ts',
    find: "    case 'committed':\n    case 'seal':",
    replace: "    case 'committed':\n      return false;\n    case 'seal':",
  },
  {
    name: 'early-seal',
    what: 'seals an output before its end is in the journal',
    file: 'coordinator/core/effects.ts',
    find: "    case 'seal':\n    case 'end-job':",
    replace: "    case 'seal':\n      return false;\n    case 'end-job':",
  },
  {
    name: 'early-drop',
    what: 'drops a staging segment before the copy out of it is in the journal',
    file: 'coordinator/core/effects.ts',
    find: "    case 'drop-segment':\n    case 'adopt':",
    replace: "    case 'drop-segment':\n      return false;\n    case 'adopt':",
  },
  {
    name: 'window',
    what: 'lets results run ahead of their turn without end',
    file: 'coordinator/core/staging-window.ts',
    find: 'if (!isWindowFull(ledger)) return true;',
    replace: 'return true;',
  },
  {
    name: 'third-attempt',
    what: 'forgets that a straggler has a second attempt',
    file: 'coordinator/core/evolve-lease.ts',
    find: 'if (lease) lease.hasTwin = true;',
    replace: '',
  },
  {
    name: 'restart-grace',
    what: 'grants before the nodes that may hold leases are back',
    file: 'coordinator/core/decide-known.ts',
    find: 'return at < ledger.grantFrom && (ledger.awaited === null || ledger.awaited.size > 0);',
    replace: 'return false;',
  },
  {
    name: 'snapshot-wait',
    what: 'names a snapshot before its records are on the disk',
    file: 'coordinator/journal/snapshots.ts',
    find: 'if (!(await durable(state.sequence)) || this.#stop.signal.aborted) return await fileSystem.remove(path);',
    replace: '',
  },
  {
    name: 'snapshot-dir-fsync',
    what: 'removes segments before the name of the snapshot that holds them is on the disk',
    file: 'coordinator/journal/snapshots.ts',
    find: 'await synced(() => fileSystem.syncDir(dir));',
    replace: '',
  },
  {
    name: 'second-snapshot',
    what: 'keeps a single snapshot',
    file: 'coordinator/journal/snapshots.ts',
    find: 'this.#kept = older === undefined ? [newest] : [newest, older];\n    for (const sequence of findSnapshots(await fileSystem.list(dir)).sequences) {\n      if (!this.#kept.includes(sequence)) await fileSystem.remove(join(dir, snapshotName(sequence)));\n    }\n    return older === undefined ? 0 : await this.#options.removeSegments(older);',
    replace:
      'this.#kept = [newest];\n    for (const sequence of findSnapshots(await fileSystem.list(dir)).sequences) {\n      if (!this.#kept.includes(sequence)) await fileSystem.remove(join(dir, snapshotName(sequence)));\n    }\n    return await this.#options.removeSegments(newest);',
  },
  {
    name: 'last-group',
    what: 'trusts what it can read of a group whose sync may have failed',
    file: 'coordinator/journal/recovery.ts',
    find: 'await writeAgain(segment.file, end.groupOffset, end.goodBytes);',
    replace: '',
  },
  {
    name: 'last-name',
    what: 'trusts the name of a segment that a killed process was creating',
    file: 'coordinator/journal/recovery.ts',
    find: 'await options.fileSystem.syncDir(options.dir);\n    return {',
    replace: 'return {',
  },
  {
    name: 'lock-fsync',
    what: 'does not sync its lock',
    file: 'common/io/lock-file.ts',
    find: 'await file.datasync();',
    replace: '',
  },
  {
    name: 'reopen-cut',
    what: 'cuts the files of a job that is reopened before that is in the journal',
    file: 'coordinator/job-life.ts',
    find: 'const segments = new Map([...job.segments, ...plan.segments]);',
    replace: 'const { segments } = plan;',
  },
  {
    name: 'late-join',
    what: 'ends a session for a request to join that comes late',
    file: 'coordinator/node-desk.ts',
    find: 'if (isOld || other.incarnation !== incarnation) this.#sessions.delete(session);',
    replace: 'if (index < own.length - 1) this.#sessions.delete(session);',
  },
  {
    name: 'lost-commit',
    what: 'does not journal some of its commits',
    file: 'coordinator/engine.ts',
    find: 'append: (event) => journal.append(event),',
    replace:
      "append: (event) => event.kind === 'Committed' && event.batch % 7 === 6 ? journal.append({ kind: 'JobPaused', job: event.job, isPaused: false }) : journal.append(event),",
  },
  {
    name: 'double-append',
    what: 'appends a result once more when it is reported again',
    file: 'coordinator/core/decide-result.ts',
    find: "if (lease.placed || job.batches.state(lease.batch) === 'placed') return [];",
    replace: '',
  },
];
