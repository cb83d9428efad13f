/** A job as it is when it was submitted. */
import { plainOrigin, type JobOrigin } from '../../common/core/job-origin.ts';
import { selectionOf } from '../../common/core/input-selection.ts';
import { prologueLength } from '../../common/core/result.ts';
import { BatchTable, noBatch, outputSegment } from './batch-table.ts';
import { newBrokenSuspicion } from './broken-scorer.ts';
import type { EventOf } from './events.ts';
import { FileSizes } from './file-sizes.ts';
import { unknownRows, type Job, type Ledger } from './ledger.ts';
import { Pending } from './pending.ts';
import { emptyCut } from './plan.ts';
import { nothingLearned } from './rates.ts';
import { RunTimes } from './run-times.ts';
import { ShadowTally } from './shadow-tally.ts';
import { fixedBy, sinceBases, takenSegment } from './since.ts';

export function newJob(submitted: Omit<EventOf<'JobSubmitted'>, 'kind'>, number: number): Job {
  const batches = new BatchTable();
  const fileSizes = new FileSizes();
  const since = submitted.since ?? null;
  const isTakenFrom = since?.reason === null;
  const schema = fixedBy(since);
  const head = prologueLength(schema ?? undefined);
  return {
    name: submitted.job,
    number,
    deployment: submitted.deployment,
    inputPath: submitted.inputPath,
    selection: submitted.selection ?? selectionOf(submitted.deployment.settings),
    outputDir: submitted.outputDir,
    outputLocation: submitted.outputLocation ?? null,
    rowsOf: submitted.rowsOf ?? null,
    shadow: submitted.shadow ?? null,
    shadowed: submitted.shadow ? new ShadowTally() : null,
    origin: withLabels(submitted.origin ?? plainOrigin, submitted.deployment.settings.require),
    isArchived: false,
    order: 0,
    since,
    createdWallMs: submitted.wallMs,
    startedWallMs: null,
    endedWallMs: null,
    state: 'Queued',
    error: null,
    isSealed: false,
    isPaused: false,
    cancelUntilWallMs: null,
    generation: 1,
    sealedGeneration: 0,
    bases: new Map(isTakenFrom ? sinceBases(since) : []),
    reopenings: 0,
    reopenedAfter: submitted.after ?? { epoch: 0, counter: 0 },
    isStagingKept: false,
    isCustomWhole: true,
    stall: null,
    shortage: null,
    isListed: false,
    chunks: 0,
    files: 0,
    inputBytes: 0,
    skipped: 0,
    skippedBy: null,
    split: null,
    planned: 0,
    openCut: emptyCut,
    batches,
    pending: new Pending(batches, fileSizes),
    fileSizes,
    learned: nothingLearned,
    waiting: new Map(),
    holders: new Map(),
    avoided: new Map(),
    open: 0,
    total: 0,
    cursor: noBatch,
    outputEnd: head,
    outputCommitted: head,
    copy: null,
    stagingSegment: isTakenFrom ? takenSegment : outputSegment,
    // Nothing is staged in what is taken.
    stagingEnd: isTakenFrom ? Number.POSITIVE_INFINITY : 0,
    stagedBytes: 0,
    stagedTo: -1,
    segments: new Map(),
    placing: new Map(),
    custom: new Map(),
    schemas: schema ? [schema] : [],
    schema: schema ? 0 : -1,
    commits: 0,
    committed: 0,
    leased: 0,
    rows: 0,
    scoredFiles: 0,
    takenFiles: 0,
    failedFiles: 0,
    missingFiles: 0,
    failedTries: 0,
    fileRows: new Uint32Array(64).fill(unknownRows),
    failures: [],
    nodeNames: [],
    nodeNumbers: new Map(),
    nodes: new Map(),
    initFailures: 0,
    initFailuresOf: new Map(),
    isInitialised: false,
    suspicion: newBrokenSuspicion(),
    health: new Map(),
    sick: new Map(),
    runTimes: new RunTimes(),
    stillness: null,
  };
}

/** What the deployment requires of worker nodes, and over that what the job does. */
function withLabels(origin: JobOrigin, own: JobOrigin['require'] = {}): JobOrigin {
  const require = { ...own, ...origin.require };
  return Object.keys(require).length === 0 ? origin : { ...origin, require };
}

/** Gives it its place in the order of submission. Written by `evolve` alone. */
export function addJob(ledger: Ledger, job: Job): void {
  const outer = job.rowsOf === null ? undefined : ledger.jobs.get(job.rowsOf);
  job.order = (outer ?? job).number;
  ledger.jobs.set(job.name, job);
  ledger.loads.note(job);
}
