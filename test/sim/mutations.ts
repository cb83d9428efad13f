/**
 * Deliberate damage to the program under test, one change of one source text each: a simulator that does not notice them proves
 * nothing. `npm run sim -- --mutations` plays them all.
 */

export interface Mutation {
  readonly name: string;
  /** What the damaged program does. */
  readonly what: string;
  readonly path: string;
  /** Stands there once. */
  readonly find: string;
  /** Stands there instead. */
  readonly put: string;
}

/** Within so many seeds each must be noticed. */
export const seedsMax = 1_000;

export const mutations: readonly Mutation[] = [
  {
    name: 'stream-compare',
    what: 'appends to the stream wherever it ends',
    path: 'coordinator/journal/stream/stream-writer.ts',
    find: 'await stream.publish(bytes, this.#place);',
    put: 'await stream.publish(bytes, (await stream.ends()).last);',
  },
  {
    name: 'stream-acknowledgement',
    what: 'acknowledges what is on its disk and not in the stream yet',
    path: 'coordinator/journal/journal.ts',
    find: 'const both = [this.#write(group), this.#publish(group)] as const;',
    put: 'const both = [this.#write(group).then((is) => (is && this.#options.onSynced(group.lastSequence), is)), this.#publish(group)] as const;',
  },
  {
    name: 'stream-unknown',
    what: 'takes no answer of the stream for a yes',
    path: 'coordinator/journal/stream/stream-writer.ts',
    find: "published.kind === 'unknown' ? published.reason : await",
    put: "published.kind === 'unknown' ? null : await",
  },
  {
    name: 'stream-trim',
    what: 'removes messages that no snapshot covers',
    path: 'coordinator/journal/stream/mirror-snapshots.ts',
    find: 'if (older) await stream.trim(older.place);',
    put: 'if (older) await stream.trim((await stream.ends()).last);',
  },
  {
    name: 'stream-epoch',
    what: 'takes over without a new epoch',
    path: 'coordinator/journal/group-queue.ts',
    find: 'this.#epoch += 1;',
    put: 'this.#epoch = Math.max(1, this.#epoch);',
  },
  {
    name: 'stream-fence',
    what: 'brings files to what it has read while another one may still append',
    path: 'coordinator/journal/stream/catch-up.ts',
    find: 'await writer.fence(openingId(options), new AbortController().signal);',
    put: '',
  },
  {
    name: 'stream-turn',
    what: 'leads from what it had read when it was its turn',
    path: 'coordinator/journal/stream/catch-up.ts',
    find: 'last = await endBehind(options, follower.seen);\n    await follower.upTo(last);',
    put: '',
  },
  {
    name: 'fencing',
    what: 'takes results whatever the epoch of their token',
    path: 'coordinator/core/ledger.ts',
    find: 'if (token.epoch !== ledger.epoch) return undefined;\n  const lease',
    put: 'const lease',
  },
  {
    name: 'second-pass',
    what: 'loses a silent node at once, without a second look',
    path: 'coordinator/core/decide-node.ts',
    find: "if (node.state !== 'suspect') return [{ kind: 'NodeSuspected', node: node.name }];",
    put: '',
  },
  {
    name: 'stall-rule',
    what: 'does not take its own stall off the leases',
    path: 'coordinator/timers.ts',
    find: 'late > limits.stallMsMin ? late : 0',
    put: 'late > Infinity ? late : 0',
  },
  {
    name: 'journal-fsync',
    what: 'does not sync the journal',
    path: 'coordinator/journal/segment-files.ts',
    find: 'await synced(() => current.file.datasync());\n    this.#current',
    put: 'this.#current',
  },
  {
    name: 'journal-dir-fsync',
    what: 'does not sync the folder of a new segment of the journal',
    path: 'coordinator/journal/segment-files.ts',
    find: 'await synced(() => this.#fileSystem.syncDir(this.#dir));',
    put: '',
  },
  {
    name: 'output-fsync',
    what: 'does not sync results',
    path: 'coordinator/output/output-writer.ts',
    find: 'await Promise.all(plan.touched.map(async (target) => (await files.file(target)).datasync()));',
    put: '',
  },
  {
    name: 'segment-dir-fsync',
    what: 'does not sync the folder of staging segments',
    path: 'coordinator/output/output-writer.ts',
    find: 'await files.syncNames([...plan.touched.filter((target) => target !== null), ...plan.adopted]);',
    put: '',
  },
  {
    name: 'truncation',
    what: 'does not cut the output to its committed end',
    path: 'coordinator/output/recover-output.ts',
    find: 'if (sizeBytes > wanted.outputEnd) await file.truncate(wanted.outputEnd);',
    put: '',
  },
  {
    name: 'final-name',
    what: 'gives files of user code names that depend on the attempt',
    path: 'coordinator/output/custom-publish.ts',
    find: 'const path = isTaken ? `${file.path}~${job}` : file.path;',
    put: 'const path = `${file.path}~${file.pieces[0]?.segment}`;',
  },
  {
    name: 'early-acknowledgement',
    what: 'tells a node that its result is committed before the journal is synced',
    path: 'coordinator/core/effects.ts',
    find: "    case 'committed':\n    case 'seal':",
    put: "    case 'committed':\n      return false;\n    case 'seal':",
  },
  {
    name: 'window',
    what: 'lets results run ahead of their turn without end',
    path: 'coordinator/core/staging-window.ts',
    find: 'if (!isWindowFull(ledger)) return true;',
    put: 'return true;',
  },
  {
    name: 'head-slot',
    what: 'lets long mini-batches go before the head of the order',
    path: 'coordinator/core/schedule.ts',
    find: 'const isInTurn = first === job.cursor || isWindowNarrow(ledger);',
    put: 'const isInTurn = isWindowNarrow(ledger);',
  },
  {
    name: 'lost-cut',
    what: 'does not journal where it cuts mini-batches',
    path: 'coordinator/core/events.ts',
    find: 'Cut: true,',
    put: '',
  },
  {
    name: 'skipped-files',
    what: 'forgets the files before one that goes before its turn',
    path: 'coordinator/core/evolve-plan.ts',
    find: 'if (batch !== run) pending.addRun(run);',
    put: '',
  },
  {
    name: 'third-attempt',
    what: 'forgets that a straggler has a second attempt',
    path: 'coordinator/core/evolve-lease.ts',
    find: 'if (lease) lease.hasTwin = true;',
    put: '',
  },
  {
    name: 'restart-grace',
    what: 'grants before the nodes that may hold leases are back',
    path: 'coordinator/core/decide-known.ts',
    find: 'return at < ledger.grantFrom && (ledger.awaited === null || ledger.awaited.size > 0);',
    put: 'return false;',
  },
  {
    name: 'second-snapshot',
    what: 'keeps a single snapshot',
    path: 'coordinator/journal/snapshots.ts',
    find: 'this.#kept = older === undefined ? [newest] : [newest, older];\n    for (const sequence of findSnapshots(await fileSystem.list(dir)).sequences) {\n      if (!this.#kept.includes(sequence)) await fileSystem.remove(join(dir, snapshotName(sequence)));\n    }\n    return older === undefined ? 0 : await this.#options.removeSegments(older);',
    put: 'this.#kept = [newest];\n    for (const sequence of findSnapshots(await fileSystem.list(dir)).sequences) {\n      if (!this.#kept.includes(sequence)) await fileSystem.remove(join(dir, snapshotName(sequence)));\n    }\n    return await this.#options.removeSegments(newest);',
  },
  {
    name: 'last-group',
    what: 'trusts what it can read of a group whose sync may have failed',
    path: 'coordinator/journal/recovery.ts',
    find: 'await writeAgain(segment.file, end.groupOffset, end.goodBytes);',
    put: '',
  },
  {
    name: 'lock-fsync',
    what: 'does not sync its lock',
    path: 'common/io/lock-file.ts',
    find: 'await file.datasync();',
    put: '',
  },
  {
    name: 'late-join',
    what: 'ends a session for a request to join that comes late',
    path: 'coordinator/node-desk.ts',
    find: 'if (isOld || other.incarnation !== incarnation) this.#sessions.delete(session);',
    put: 'if (index < own.length - 1) this.#sessions.delete(session);',
  },
  {
    name: 'lost-commit',
    what: 'does not journal some of its commits',
    path: 'coordinator/engine.ts',
    find: 'append: (event) => journal.append(event),',
    put: "append: (event) => event.kind === 'Committed' && event.batch % 7 === 6 ? journal.append({ kind: 'JobPaused', job: event.job, isPaused: false }) : journal.append(event),",
  },
  {
    name: 'parts-again',
    what: 'makes the parts anew after a restart although they are being made',
    path: 'coordinator/core/effects.ts',
    find: "return partsJobOf(ledger, job) ? [] : [{ kind: 'make-parts', job: job.name }];",
    put: "return [{ kind: 'make-parts', job: job.name }];",
  },
  {
    name: 'early-parts',
    what: 'puts parts in place before all of them are made',
    path: 'coordinator/core/effects.ts',
    find: "if (event.state === 'Finalizing') return",
    put: "if (event.state === 'Finalizing' || (event.state === 'Running' && jobOf(ledger, event.job).rowsOf !== null)) return",
  },
  {
    name: 'earlier-parts',
    what: 'leaves parts of an earlier generation beside those of the next',
    path: 'coordinator/output/seal-parts.ts',
    find: '(line.rows === undefined ? []',
    put: '(line.rows === undefined || !parts.files.has(line.path) ? []',
  },
  {
    name: 'double-append',
    what: 'appends a result once more when it is reported again',
    path: 'coordinator/core/decide-result.ts',
    find: "if (lease.placed || job.batches.state(lease.batch) === 'placed') return [];",
    put: '',
  },
  {
    name: 'taken-fsync',
    what: 'does not sync rows that it cuts out of an earlier output',
    path: 'coordinator/since/taken-rows.ts',
    find: 'if (this.#end > begin) await this.#to.datasync();',
    put: '',
  },
  {
    name: 'taken-identity',
    what: 'takes rows of a file that is another one now',
    path: 'coordinator/since/earlier-rows.ts',
    find: 'const isKnown = file.identity !== unreadableIdentity && file.identity === identity;',
    put: 'const isKnown = file.identity !== unreadableIdentity;',
  },
  {
    name: 'taken-neighbours',
    what: 'takes the rows of a file that is gone with those of its neighbours',
    path: 'coordinator/since/earlier-rows.ts',
    find: 'return line.ordinal === before.line.ordinal + 1 && segment.first === before.segment.first;',
    put: 'return segment.first === before.segment.first;',
  },
  {
    name: 'taken-base',
    what: 'stages results in the file of what was cut out',
    path: 'coordinator/core/new-job.ts',
    find: 'stagingEnd: isTakenFrom ? Number.POSITIVE_INFINITY : 0,',
    put: 'stagingEnd: 0,',
  },
  {
    name: 'priority',
    what: 'grants jobs of a low priority first',
    path: 'coordinator/core/job-queue.ts',
    find: 'const place = this.#levels.findIndex((level) => level.priority <= priority);',
    put: 'const place = this.#levels.findIndex((level) => level.priority >= priority);',
  },
  {
    name: 'fair-share',
    what: 'grants whoever came first, whatever he holds',
    path: 'coordinator/core/job-queue.ts',
    find: 'if (best && held > best.held) continue;',
    put: 'if (best) continue;',
  },
  {
    name: 'held-leases',
    what: 'forgets to take off what an owner holds when a lease ends',
    path: 'coordinator/core/computes.ts',
    find: 'countDown(ledger.heldBy, owner);',
    put: '',
  },
  {
    name: 'preemption',
    what: 'leaves work that has not begun where a higher priority wants to go',
    path: 'coordinator/core/decide-node.ts',
    find: 'events.every(isOfNoLease) ? preemptionEvents(ledger, at) : []',
    put: '[]',
  },
  {
    name: 'endpoint-limit',
    what: 'begins every job of an endpoint at once',
    path: 'coordinator/core/admission.ts',
    find: "return max === null || ledger.loads.begun(endpointOf(job) ?? '') < max;",
    put: 'return true;',
  },
  {
    name: 'limit-of-snapshot',
    what: 'forgets with a snapshot which jobs of an endpoint have begun',
    path: 'coordinator/core/new-job.ts',
    find: 'ledger.loads.note(job);',
    put: '',
  },
  {
    name: 'reopened-limit',
    what: 'begins a job that goes on whatever runs of its endpoint',
    path: 'coordinator/core/evolve-life.ts',
    find: "job.state = job.total === 0 || waits ? 'Preparing' : 'Running';",
    put: "job.state = job.total === 0 ? 'Preparing' : 'Running';",
  },
];
