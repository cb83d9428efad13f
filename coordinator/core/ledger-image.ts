/**
 * The durable part of a ledger as plain data, and back: what a snapshot of the journal holds. The image of a ledger that
 * was lived through equals the image of one that was replayed from the journal up to the same record: leases, connections,
 * places of results on their way and stalls end with the process and are left out; what follows from the rest (the cursor
 * of the output, what is pending) is found again.
 *
 * The two tables below say of every field what becomes of it, so that the compiler asks when one is added.
 */
import type { NodeName } from '../../common/core/ids.ts';
import type { TableImage } from './batch-columns.ts';
import { BatchTable, noBatch, noPlace, outputSegment, type Place } from './batch-table.ts';
import { newBrokenSuspicion, type BrokenSuspicion } from './broken-scorer.ts';
import type { FailureKind } from './events.ts';
import { moveCursor } from './evolve-output.ts';
import { addRun } from './evolve-plan.ts';
import { FileSizes } from './file-sizes.ts';
import { unknownRows, type FailedFile, type Job, type Ledger } from './ledger.ts';
import { addJob, newJob } from './new-job.ts';
import { Pending } from './pending.ts';
import type { Learned } from './rates.ts';
import type { RegistryImage } from './registry.ts';
import type { NodeHealth, SickNode } from './sick-nodes.ts';
import { ShadowTally, type ShadowSums } from './shadow-tally.ts';
import { countStaged } from './staging-window.ts';

/** `header`: as it is, JSON. `own`: has a form of its own below. `volatile`: ends with the process, or follows from the rest. */
type Fate = 'header' | 'own' | 'volatile';

type JobOwn =
  | 'batches'
  | 'fileSizes'
  | 'bases'
  | 'segments'
  | 'custom'
  | 'shadowed'
  | 'fileRows'
  | 'failures'
  | 'suspicion'
  | 'health'
  | 'sick';
type JobVolatile =
  | 'stall'
  | 'shortage'
  | 'order'
  | 'pending'
  | 'waiting'
  | 'holders'
  | 'avoided'
  | 'cursor'
  | 'outputEnd'
  | 'copy'
  | 'stagingSegment'
  | 'stagingEnd'
  | 'stagedBytes'
  | 'stagedTo'
  | 'placing'
  | 'leased'
  | 'nodes'
  | 'initFailures'
  | 'initFailuresOf'
  | 'nodeNumbers'
  | 'runTimes'
  | 'commits'
  | 'stillness';
type LedgerOwn = 'jobs' | 'known' | 'learned' | 'registry';
type LedgerVolatile =
  | 'grants'
  | 'nodes'
  | 'ready'
  | 'leases'
  | 'hungry'
  | 'runnable'
  | 'loads'
  | 'heldBy'
  | 'computeNodes'
  | 'stagedBytes'
  | 'stagingBytesMax'
  | 'placingBytes'
  | 'shortage'
  | 'stall'
  | 'stallMs'
  | 'grantFrom'
  | 'awaited'
  | 'heartbeatMs';

type Fates<T, Own extends keyof T, Volatile extends keyof T> = {
  readonly [K in keyof T]: K extends Own ? 'own' : K extends Volatile ? 'volatile' : 'header';
};
export type JobHeader = Omit<Job, JobOwn | JobVolatile>;
export type LedgerHeader = Omit<Ledger, LedgerOwn | LedgerVolatile>;

const jobFates: Fates<Job, JobOwn, JobVolatile> = {
  name: 'header',
  number: 'header',
  deployment: 'header',
  inputPath: 'header',
  selection: 'header',
  outputDir: 'header',
  outputLocation: 'header',
  rowsOf: 'header',
  shadow: 'header',
  shadowed: 'own',
  origin: 'header',
  isArchived: 'header',
  order: 'volatile',
  since: 'header',
  createdWallMs: 'header',
  startedWallMs: 'header',
  endedWallMs: 'header',
  state: 'header',
  error: 'header',
  isSealed: 'header',
  isPaused: 'header',
  cancelUntilWallMs: 'header',
  generation: 'header',
  sealedGeneration: 'header',
  bases: 'own',
  reopenings: 'header',
  reopenedAfter: 'header',
  isStagingKept: 'header',
  isCustomWhole: 'header',
  stall: 'volatile',
  shortage: 'volatile',
  isListed: 'header',
  chunks: 'header',
  files: 'header',
  inputBytes: 'header',
  skipped: 'header',
  skippedBy: 'header',
  split: 'header',
  planned: 'header',
  openCut: 'header',
  batches: 'own',
  pending: 'volatile',
  fileSizes: 'own',
  learned: 'header',
  waiting: 'volatile',
  holders: 'volatile',
  avoided: 'volatile',
  open: 'header',
  total: 'header',
  cursor: 'volatile',
  outputEnd: 'volatile',
  outputCommitted: 'header',
  copy: 'volatile',
  stagingSegment: 'volatile',
  stagingEnd: 'volatile',
  stagedBytes: 'volatile',
  stagedTo: 'volatile',
  segments: 'own',
  placing: 'volatile',
  custom: 'own',
  schemas: 'header',
  schema: 'header',
  commits: 'volatile',
  committed: 'header',
  leased: 'volatile',
  rows: 'header',
  scoredFiles: 'header',
  takenFiles: 'header',
  failedFiles: 'header',
  failedTries: 'header',
  missingFiles: 'header',
  fileRows: 'own',
  failures: 'own',
  nodeNames: 'header',
  nodeNumbers: 'volatile',
  nodes: 'volatile',
  initFailures: 'volatile',
  initFailuresOf: 'volatile',
  isInitialised: 'header',
  suspicion: 'own',
  health: 'own',
  sick: 'own',
  runTimes: 'volatile',
  stillness: 'volatile',
};

const ledgerFates: Fates<Ledger, LedgerOwn, LedgerVolatile> = {
  epoch: 'header',
  grants: 'volatile',
  jobs: 'own',
  submissions: 'header',
  registry: 'own',
  nodes: 'volatile',
  ready: 'volatile',
  learned: 'own',
  leases: 'volatile',
  hungry: 'volatile',
  runnable: 'volatile',
  loads: 'volatile',
  heldBy: 'volatile',
  computeNodes: 'volatile',
  stagedBytes: 'volatile',
  stagingBytesMax: 'volatile',
  placingBytes: 'volatile',
  shortage: 'volatile',
  stall: 'volatile',
  stallMs: 'volatile',
  grantFrom: 'volatile',
  awaited: 'volatile',
  known: 'own',
  tellsNodes: 'header',
  heartbeatMs: 'volatile',
};

/** Where user code's files are staged, one entry for each mini-batch that has some. */
export interface CustomColumns {
  readonly batch: Uint32Array<ArrayBuffer>;
  readonly segment: Int32Array<ArrayBuffer>;
  readonly offset: Float64Array<ArrayBuffer>;
  readonly length: Float64Array<ArrayBuffer>;
  readonly crc32: Uint32Array<ArrayBuffer>;
}

/** As JSON: {@link BrokenSuspicion} with its maps as pairs. */
export interface SuspicionImage {
  readonly last: BrokenSuspicion['last'];
  readonly parts: readonly (readonly [number, number])[];
  readonly split: readonly (readonly [number, { readonly signature: string; readonly left: number }])[];
  readonly alike: readonly (readonly [string, { readonly count: number; readonly failure: FailedFile['failure'] }])[];
}

/** As JSON: {@link NodeHealth} with its map as pairs. */
export interface HealthImage {
  readonly blamed: readonly (readonly [number, readonly FailureKind[]])[];
  readonly score: number;
  readonly elsewhere: number;
}

export interface JobImage {
  readonly header: JobHeader;
  readonly bases: readonly (readonly [number, string])[];
  readonly segments: readonly (readonly [number, number])[];
  readonly suspicion: SuspicionImage;
  readonly health: readonly (readonly [NodeName, HealthImage])[];
  readonly sick: readonly (readonly [NodeName, SickNode])[];
  readonly batches: TableImage;
  readonly fileRows: Uint32Array<ArrayBuffer>;
  readonly fileBytes: Float32Array<ArrayBuffer>;
  readonly custom: CustomColumns;
  /** Null without a shadow. */
  readonly shadowed: ShadowSums | null;
  /** Of the shadow's counts by mini-batch; empty without one. */
  readonly shadowCounts: Uint32Array<ArrayBuffer>;
  readonly failures: readonly FailedFile[];
}

export interface LedgerImage {
  readonly header: LedgerHeader;
  readonly known: readonly NodeName[];
  readonly learned: readonly (readonly [string, Learned])[];
  readonly registry: RegistryImage;
  /** In order of submission. */
  readonly jobs: readonly JobImage[];
}

/** A copy: nothing that happens later changes it. Takes 30 to 60 milliseconds for a million mini-batches. */
export function imageOf(ledger: Ledger): LedgerImage {
  return {
    header: headerOf<LedgerHeader>(ledger, ledgerFates),
    known: [...ledger.known],
    learned: [...ledger.learned],
    registry: ledger.registry.image(),
    jobs: [...ledger.jobs.values()].map(jobImage),
  };
}

/** Fills a new ledger. Takes the columns over; `image` must not be used any more. */
export function restoreImage(ledger: Ledger, image: LedgerImage): void {
  Object.assign(ledger, image.header);
  for (const node of image.known) ledger.known.add(node);
  for (const [key, learned] of image.learned) ledger.learned.set(key, learned);
  ledger.registry.restore(image.registry);
  for (const jobImage of image.jobs) {
    const job = restoreJob(jobImage, numberOf(ledger, jobImage.header));
    addJob(ledger, job);
    countStaged(ledger, job);
  }
}

/** Bytes of the typed columns, which is nearly all of it for a large job. */
export function columnBytes(image: LedgerImage): number {
  const bytesOf = (columns: object): number =>
    Object.values(columns).reduce((sum: number, column: Uint8Array) => sum + column.byteLength, 0);
  return image.jobs.reduce(
    (sum, { batches, custom, shadowCounts, fileRows, fileBytes }) =>
      sum + bytesOf(batches.columns) + bytesOf(custom) + bytesOf({ shadowCounts, fileRows, fileBytes }),
    0,
  );
}

function headerOf<Header extends object>(from: Header, fates: Readonly<Record<string, Fate>>): Header {
  const header: Record<string, unknown> = {};
  for (const [name, fate] of Object.entries(fates)) {
    if (fate !== 'header') continue;
    const value: unknown = from[name as keyof Header];
    // Lists grow in place; everything else is replaced when it changes.
    header[name] = Array.isArray(value) ? [...(value as readonly unknown[])] : value;
  }
  return header as Header;
}

function jobImage(job: Job): JobImage {
  return {
    header: headerOf<JobHeader>(job, jobFates),
    bases: [...job.bases],
    segments: [...job.segments],
    suspicion: suspicionImage(job.suspicion),
    health: [...job.health].map(([node, { blamed, score, elsewhere }]) => [
      node,
      { blamed: [...blamed], score, elsewhere },
    ]),
    sick: [...job.sick],
    batches: job.batches.image(),
    fileRows: job.fileRows.slice(0, knownFiles(job.fileRows)),
    fileBytes: job.fileSizes.image(),
    custom: customColumns(job.custom),
    shadowed: job.shadowed?.sums() ?? null,
    shadowCounts: job.shadowed?.table() ?? new Uint32Array(0),
    failures: [...job.failures],
  };
}

/** The array grows ahead of what is known, and not in the same steps after a restart. */
function knownFiles(fileRows: Uint32Array): number {
  let end = fileRows.length;
  while (end > 0 && fileRows[end - 1] === unknownRows) end -= 1;
  return end;
}

function customColumns(custom: ReadonlyMap<number, Place>): CustomColumns {
  const places = [...custom.values()];
  return {
    batch: Uint32Array.from(custom.keys()),
    segment: Int32Array.from(places, (place) => place.segment),
    offset: Float64Array.from(places, (place) => place.offset),
    length: Float64Array.from(places, (place) => place.length),
    crc32: Uint32Array.from(places, (place) => place.crc32),
  };
}

function suspicionImage({ last, parts, split, alike }: BrokenSuspicion): SuspicionImage {
  return {
    last,
    parts: [...parts],
    split: [...split].map(([batch, entry]) => [batch, { ...entry }] as const),
    alike: [...alike].map(([signature, entry]) => [signature, { ...entry }] as const),
  };
}

/** Snapshots of older releases do not number them, but hold them in order. */
function numberOf(ledger: Ledger, { number }: { readonly number?: number }): number {
  if (number === undefined) ledger.submissions += 1;
  return number ?? ledger.submissions;
}

function restoreJob(image: JobImage, number: number): Job {
  const { header, fileRows } = image;
  const batches = BatchTable.restore(image.batches);
  const fileSizes = new FileSizes(image.fileBytes);
  const fresh = newJob({ ...header, job: header.name, wallMs: header.createdWallMs }, number);
  const segments = new Map(image.segments);
  const bases = new Map(image.bases);
  const job: Job = {
    ...fresh,
    ...header,
    number,
    batches,
    pending: new Pending(batches, fileSizes),
    fileSizes,
    cursor: batches.head,
    outputEnd: header.outputCommitted,
    // A number that names an earlier output is not given away again.
    stagingSegment: Math.max(outputSegment, ...segments.keys(), ...bases.keys()),
    stagingEnd: Number.POSITIVE_INFINITY,
    bases,
    segments,
    custom: restoreCustom(image.custom),
    shadowed: image.shadowed ? new ShadowTally(image.shadowed, image.shadowCounts) : fresh.shadowed,
    fileRows: fileRows.length > 0 ? fileRows : fresh.fileRows,
    failures: [...image.failures],
    suspicion: restoreSuspicion(image.suspicion),
    health: new Map(image.health.map(([node, health]) => [node, restoreHealth(health)])),
    sick: new Map(image.sick),
  };
  for (let batch = batches.head; batch !== noBatch; batch = batches.next(batch)) {
    const state = batches.state(batch);
    if (state === 'pending') job.pending.push(batch);
    else if (state === 'uncut') addRun(job, batch);
  }
  moveCursor(job);
  return job;
}

function restoreCustom(columns: CustomColumns): Map<number, Place> {
  const custom = new Map<number, Place>();
  columns.batch.forEach((batch, index) => {
    custom.set(batch, {
      segment: columns.segment[index] ?? noPlace.segment,
      offset: columns.offset[index] ?? 0,
      length: columns.length[index] ?? 0,
      crc32: columns.crc32[index] ?? 0,
    });
  });
  return custom;
}

function restoreHealth({ blamed, score, elsewhere }: HealthImage): NodeHealth {
  return { blamed: new Map(blamed), score, elsewhere };
}

function restoreSuspicion(image: SuspicionImage): BrokenSuspicion {
  return {
    ...newBrokenSuspicion(),
    last: image.last,
    parts: new Map(image.parts),
    split: new Map(image.split.map(([batch, entry]) => [batch, { ...entry }])),
    alike: new Map(image.alike.map(([signature, entry]) => [signature, { ...entry }])),
  };
}
