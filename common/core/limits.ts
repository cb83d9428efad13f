/**
 * Every limit of the program with its unit in its name and its reason beside it.
 * Settings that a user may change have their defaults here too.
 */
import { invariant } from './invariant.ts';

export const limits = {
  /** N and N−1 are spoken. What each number has added: docs/operations.md. */
  protocolVersion: 2,
  protocolVersionOldest: 1,

  /** Heartbeats of a small cluster; `heartbeatMs` below grows it with the number of nodes. */
  heartbeatMsMin: 5_000,
  /** A lease outlives this many heartbeats: one lost message or one slow collection is no reason to score twice. */
  heartbeatsPerLease: 6,
  /** A node that leaves at a known time begins nothing in the last part of it, and kills what still runs in the very last. */
  leaveReserveMs: 10_000,
  leaveKillMs: 5_000,
  /** In the second half of such a node's time, a mini-batch is taken to last so many times as long as expected. */
  endSafety: 2,
  /** Of a mini-batch of which nobody knows how long it takes, so much time must be left, or its timeout, if that is less. */
  unknownLengthMs: 600_000,
  /** Of one worker node; and nodes of which operators may have said something, a hundred bytes each. */
  nodeLabelsMax: 64,
  nodeNotesMax: 10_000,
  /** How long `node drain --deadline` may be. */
  nodeDrainMsMax: 604_800_000,
  /** How often `node drain --wait` looks. */
  drainLookMs: 500,
  /** How often an allocator looks; Slurm's controller serves many. */
  allocatorLookMs: 5_000,
  /** Slurm jobs submitted at one look, so that a mistake is seen before there are hundreds. */
  allocatorSubmissionsMax: 10,
  /** After so many that failed one after the other, nothing is submitted for a minute, two, four, up to half an hour. */
  allocatorFailuresMax: 3,
  allocatorPauseMsMin: 60_000,
  allocatorPauseMsMax: 1_800_000,
  /** From the start of a Slurm job until its worker node is there: file systems of clusters are slow. */
  allocatorJoinMsMax: 300_000,
  /** Of sbatch, squeue, scancel. A busy controller takes its time. */
  slurmCommandMsMax: 60_000,
  slurmAnswerBytesMax: 67_108_864,
  /** Why a node is quarantined by hand. */
  nodeReasonCharsMax: 500,
  /** Work kept ready on a node beyond its free slots, so that a slot never waits for a round trip. */
  workAheadMs: 50,
  /** Work that waits on a scoring host behind what it is at, so that it need not wait for us between two short mini-batches. */
  queuedMs: 5,
  queuedMax: 64,
  /** After so long behind one mini-batch it is taken back, if another slot is free. */
  queuedStuckMs: 50,
  workAheadMin: 1,
  workAheadMax: 512,
  /** Grants in one message to one node; keeps a message below the 1 MiB that gRPC streams well. */
  grantsPerMessageMax: 256,
  grantFilesPerMessageMax: 4_096,

  /** Files of a mini-batch; Azure's queue message had room for about a thousand. */
  miniBatchFilesMax: 100_000,
  /** `mini_batch_size` of an Azure-form YAML that does not say. */
  miniBatchFilesDefault: 10,
  /** `mini_batch_size: auto`: seconds of run(). Far above the milliseconds that a mini-batch costs, and little to lose. */
  autoSeconds: 2,
  /** Where a mini-batch takes time whatever is in it, so many times that, up to … */
  autoOverheads: 20,
  autoSecondsMax: 20,
  /** The first ones of a job of which the rate is known already; each that follows may be twice as long as what each slot has had. */
  autoSecondsFirst: 0.1,
  /** At the end, of what each slot has still to do, the next mini-batch is a fourth, but no shorter than … */
  autoTailShare: 4,
  autoSecondsMin: 0.05,
  autoOverheadsMin: 2,
  /** A mini-batch that was cut by time is to end long before its timeout. */
  targetTimeoutShare: 2,
  /** A mini-batch has at most so many times the files of the largest that was ever scored: rates are known for no more. */
  cutGrowth: 4,
  /** Where mini-batches run out of memory, half as many files are cut from then on, but not fewer than these. */
  cutFilesFitMin: 8,
  /** Files of the first mini-batches, and of the next when the first fail: parts that fail alike show that the scorer is broken. */
  cutFilesFirst: 1,
  cutFilesSuspect: 2,
  /** `auto`, whatever the time: a script may read all files of a mini-batch before it scores the first. */
  miniBatchAutoFilesMax: 1_024,
  miniBatchAutoBytesMax: 67_108_864,
  /** Rows of a mini-batch of `auto`, as far as earlier ones tell: they are held in memory on their way, and need no file of their own. */
  miniBatchAutoResultBytes: 4_194_304,
  /** The shortest run() that is believed: clocks are no finer. */
  runSecondsMin: 0.000_1,
  /** Rates are worked out anew with each eighth more results. */
  ratesFitShare: 8,
  /** Results that make up what is known; of fewer, the latter half. */
  ratesMemoryResults: 64,
  /** From so many on, a result counts as no more than so many times of what was expected. */
  ratesTrustedResults: 8,
  ratesSurpriseMax: 3,
  /** A job begins with what was learned of its deployment, as if it had seen so many results of its own. */
  ratesRememberedResults: 16,
  /** Deployments of which that is remembered, those of the latest jobs. */
  ratesDeploymentsMax: 1_000,
  /** Sixteen that go before their turn still end before the rest. */
  longShare: 16,
  /** What takes so many times as long as the others begins at once. */
  outlierMeans: 8,
  /** Files that are so many times larger than the mean may be such; the mean is not known before all are listed. */
  largeFileMeans: 4,
  /** Results after which pending mini-batches are sorted by length anew: so many times as many as before. */
  reorderGrowth: 8,
  /** Share of `stagingBytesMax` beyond which nothing goes before its turn. */
  stagingNarrowShare: 0.5,

  /** Files per sealed manifest chunk: one chunk is about 400 KiB of JSON, and leases start after the first. */
  manifestChunkFiles: 4_096,
  /** Files of the first page of a listing, a few milliseconds to look at; each page after it has so many times more, up to a chunk. */
  listedFirstFiles: 512,
  listedGrowth: 8,
  /** Parsed manifest chunks kept in memory while granting. */
  manifestChunksCached: 16,
  /** A glob pattern for input files, how many of them there may be, and for how many one may stand by its braces. */
  inputPatternCharsMax: 1_024,
  inputPatternsMax: 64,
  inputPatternAlternativesMax: 1_000,
  /** A line of a list of inputs: paths are up to 4,096 bytes, other columns of a CSV may stand beside them. */
  inputListLineBytesMax: 1_048_576,
  /** Endings of names that `plan` counts one by one. */
  planTypesMax: 1_000,
  /** For a row group of a list of inputs in Parquet; one of a million paths takes about two seconds. */
  inputListBlockMsMax: 60_000,
  /** A look at a file on a local disk takes a tenth of it, on a busy machine a half; on a mount that is far away, several times as much. */
  listingLookMs: 0.1,
  /** Threads that look at files wait so long for another large input; they hold some ten megabytes each. */
  listingThreadsIdleMs: 60_000,
  /** Files looked at at once while listing: keeps a network file system busy without flooding it. */
  statsAtOnceMax: 64,

  /** Objects in one page of a store’s listing: what S3 gives in one answer. */
  storePageObjects: 1_000,
  /** Parts of a store that are listed at once, and the most that a listing is cut into: each costs a request of its own. */
  storeShardsAtOnceMax: 8,
  storeShardsMax: 64,
  /** Pages that a part waits with until those before it have been handed out. */
  storeShardPagesAhead: 4,
  /** Objects of a store looked at at once. */
  storeStatsAtOnceMax: 16,
  /** One request for bytes: enough to forget its round trip, little enough to hold. */
  storeRangeBytes: 4_194_304,
  /** Requests for bytes of one file that are under way while an earlier one is written. */
  storeRangesAhead: 2,
  /** Parts of an upload: the least that S3 takes is 5 MiB, and 10,000 of these are 80 GB. */
  storePartBytes: 8_388_608,
  /** How often a store is asked before it counts as unreachable; with the waiting below that is some 12 s. */
  storeTriesMax: 7,
  storeBackoffMs: 200,
  storeBackoffMsMax: 8_000,
  /** A store that says nothing for so long is asked again. */
  storeSilenceMsMax: 60_000,
  /** Larger ones a store does not copy by itself. @source Amazon S3: CopyObject takes up to 5 GB */
  storeCopyBytesMax: 5_000_000_000,
  /** Of copying one object within its store. */
  storeCopyMsMax: 600_000,
  /** How long a worker node waits for a store before it has its inputs from the coordinator. */
  storeTrialMs: 10_000,
  /** Bytes of one name in a path: file systems take no more. */
  fileNameBytesMax: 255,
  /** A page of links of a web server. */
  webPageBytesMax: 67_108_864,
  /** Folders within folders of a web server: deeper is a link that leads round in a circle. */
  webDepthMax: 32,
  /** Files of a web server: who has more has a store. */
  webFilesMax: 1_000_000,
  webRedirectsMax: 5,

  /** Results up to this size travel inline on the control stream; larger ones on the bulk stream. */
  inlineResultBytesMax: 16_384,
  uploadChunkBytes: 262_144,
  /** Bytes that one bulk stream may have under way before the coordinator returns credit. */
  uploadCreditBytes: 8_388_608,
  /** A result up to this size is held in memory and, when next in order, goes straight to the output. */
  directAppendBytesMax: 4_194_304,
  /** A result above this is spooled to disk on the worker node instead of held in memory. */
  spoolMemoryBytesMax: 8_388_608,
  /** All results that a worker node holds in memory: beyond, those that do not travel inline go to disk as well. */
  resultMemoryBytesMax: 33_554_432,
  /** A staging segment is deleted when all its results have been copied; small enough to be freed soon. */
  stagingSegmentBytes: 67_108_864,
  /** Numbers of staging segments that an epoch has for itself in each job; those of the epochs are below 2³¹ together. */
  segmentsPerEpoch: 65_536,
  segmentEpochsMax: 32_000,
  /** Rows, as they were scored, that one task of a partitioned output takes: each has a file in each partition. */
  partitionRangeBytes: 268_435_456,
  partitionColumnsMax: 16,
  /** Of a part, whatever the job allows its files: one that cannot be made fails the whole job, when all is scored. */
  partsTriesMin: 3,
  /** Of making a part, and so much more as its rows take at this pace. */
  partsTimeoutMs: 600_000,
  partsBytesPerSecondMin: 1_000_000,
  /** Results that wait for their turn, of all jobs: from here on only what they wait for is granted. A share of a common disk. */
  stagingBytesMax: 68_719_476_736,
  /** Results in memory that the disk has not taken yet: from here on nothing is granted. Far above what a disk is behind. */
  placingBytesMax: 268_435_456,
  /** Room on a disk below which nothing is granted; of a small disk this share of it. */
  diskReserveBytes: 67_108_864,
  diskReserveShare: 0.05,
  /** Room is enough again when there is so much more than the reserve: a job must not stop and go. */
  diskReserveAgain: 1.25,
  /** Between two looks at the room on disks. */
  diskLookMs: 1_000,
  /** Bytes that one copy from staging to output moves before others get a turn. */
  copyBytesMax: 8_388_608,
  /** Results that one copy moves: its journal record names each of them. */
  copyBatchesMax: 16_384,
  fetchChunkBytes: 262_144,

  /** A frame between worker node and scoring host. */
  framePayloadBytesMax: 16_777_216,
  /** Rows of one Arrow record batch that is made of values: enough that its head weighs nothing, few enough to be built at once. */
  arrowBatchRowsMax: 16_384,
  /** Rows of a row group of Parquet by default: what DuckDB writes, and readers take as a unit of work. */
  rowGroupRowsDefault: 122_880,
  /** A row group of wide rows ends here: it is in memory while it is written. */
  rowGroupBytesMax: 67_108_864,
  /** What is read at once of rows that become a part of an output. */
  partReadBytes: 1_048_576,
  /** Rows that are put into one record batch, or told apart by partition, at once: the memory of one such task is a few times as much. */
  partWindowBytes: 33_554_432,
  partWindowRows: 1_048_576,
  /** Folders of one part of an output: each is a file, and 1,000 parts of 1,000 folders are a million files. */
  partitionsMax: 1_024,
  /** The host sends rows in pieces of this size. */
  frameRowsBytes: 1_048_576,
  /** Fewer wait for more until then; a mini-batch that goes on giving rows is heard of long before its time is over. */
  rowsHeldMs: 250,

  /** Rows of one call of the built-in scorer's session: enough to forget the call's own cost. */
  modelRunRowsMax: 4_096,
  /** Bytes of input tensors of one call, at least one row: 34 float images of 3×224×224. */
  modelRunBytesMax: 20_971_520,
  /** The same on a processor, whose caches hold them beside the model's: a digit took 35 µs among 128, 42 among 1,024. */
  modelRunCachedBytes: 524_288,
  /** The same on a device, where the best number of rows is found: host memory that gathers them. */
  modelRunDeviceBytesMax: 268_435_456,
  /** Rows of the first calls on a device; a small one has room for so many of most models. */
  callRowsFirst: 32,
  /** Full calls of a size that are measured, the fastest of which counts: others wait for something else. */
  callSamples: 3,
  /** Twice as many rows must be faster by so much, or else the fewer are better: they leave memory. */
  callGain: 1.1,
  /** Models and devices whose sizes of calls a machine remembers. */
  callSizesKept: 1_000,
  /** Rows that share a call all the same: a model's large weights are read once for all of them. */
  modelRunRowsMin: 16,
  /** Images that are decoded, or being decoded, while the model scores those before them: some for each of sharp's four threads. */
  decodeAheadFilesMax: 16,
  decodeAheadBytesMax: 67_108_864,
  /** Room for a file that is read before it is decoded, which grows for larger ones. */
  readRoomBytesMin: 65_536,
  /** Room of all of them that is kept for files to come: sixteen photographs of two megabytes. */
  readRoomBytesMax: 33_554_432,
  /** Bytes of pixels of a PNG that is decoded at once, without libvips: above, libvips on threads of its own is as quick. */
  plainPngBytesMax: 262_144,
  /** Pixels of a BMP, which is decoded whole: what sharp allows for other images. */
  bmpPixelsMax: 268_402_689,
  /** Names of classes of a deployment: they travel with the job, and a request's body is bounded. */
  labelsCharsMax: 524_288,
  /** Rows of a JSON Lines, Parquet or Arrow file that are handed on at once. */
  tableBlockRowsMax: 8_192,
  /** Numbers of a Parquet row group that are read by parquet-wasm: below, loading it takes longer than it saves. */
  parquetNumbersMin: 131_072,
  /** Bytes of columns of a row group that it is given: it holds them three times. */
  parquetNumbersBytesMax: 134_217_728,
  /** A part of a large table that is shared out: a second or so of scoring, and far more than finding its rows costs. */
  splitPartBytes: 16_777_216,
  /** The same where a mini-batch has several of them. */
  splitPartBytesMin: 1_048_576,
  /** The least that a deployment may ask for. */
  splitPartBytesAsked: 65_536,
  /** Bytes between two places of a table from which a worker node can go on looking for rows. */
  splitPlaceBytes: 1_048_576,
  /** A node looks no further behind a part for the end of its last row: more than a record may have, in bytes. */
  splitRecordBytesMax: 67_108_864,
  /** The beginning of a table, or its footer, is kept by a node up to this; what is longer is read again for each part. */
  splitKeptBytes: 1_048_576,
  /** Tables of which a node knows where their rows begin; those that were not asked for longest are forgotten. */
  splitTablesKnown: 32,
  /** A record of a CSV file: one that is longer is no record, but a file of another kind. */
  csvRecordCharsMax: 16_777_216,
  /** An output of a model with more values per row than this becomes one list column instead of columns of its own. */
  modelOutputColumnsMax: 32,

  /** Files that user code writes during one mini-batch: each one is a rename and a sync when the job is sealed. */
  customFilesMax: 10_000,
  /** Path of such a file below the output folder; file systems take 4,096 with the folder before it. */
  customPathBytesMax: 1_024,
  /** Header of such a file in its archive: its path, of which JSON may make six characters for one. */
  customHeaderBytesMax: 8_192,
  /** Files of earlier mini-batches that a scoring host's own folder keeps: each look at it costs as much as it holds. */
  customFilesKept: 256,
  /** Custom files that are put in place at once: their syncs share the disk's. */
  customPublishAtOnceMax: 8,
  /** Custom files that `_manifest.json` names itself; more are named in files beside it. */
  customFilesInlineMax: 1_000,

  journalSegmentBytes: 67_108_864,
  journalGroupBytesMax: 524_288,
  /** Of one message of a journal's stream: NATS servers take 1 MiB unless told otherwise. */
  journalMessageBytesMax: 786_432,
  /** One try to append a message to the stream, or to ask it. */
  journalStreamTryMs: 5_000,
  journalStreamRetryMs: 250,
  /** The leading coordinator's lease on the cluster, how often it renews it, and how often the others try for it. */
  leaderLeaseMs: 5_000,
  leaderRenewMs: 1_500,
  leaderTryMs: 250,
  /** A leader that could not renew its lease for so long gives no file a name: it may have ended before a call does. */
  leaderSureMs: 4_000,
  /** A leader that could not renew its lease for so long stops to lead: longer than the servers take to elect a leader of their own, and short of what a takeover may take. */
  leaderSilentMs: 6_000,
  /** Coordinators that stand by, and how long they have to answer a question. */
  standbysMax: 8,
  standbyAnswerMs: 1_000,
  /** How long nobody grants while another coordinator is let lead: worker nodes take work for this time, and look for who leads without a pause. */
  handOverMs: 5_000,
  /** Before it: for the answer to whoever asked for it, and for that work to be granted. */
  handOverAfterMs: 500,
  /** How long a client looks for the coordinator that leads. */
  leaderSearchMs: 15_000,
  /** An append that takes so long stops the granting of leases. */
  journalStreamStallMs: 10_000,
  /** One record; a length above it in a frame's header is damage, not a reason to read gigabytes. */
  journalRecordBytesMax: 16_777_216,
  /** Kept aside so that a full disk can still be recorded. */
  journalReserveBytes: 4_194_304,
  /** Growth of the journal between two snapshots, at least: a restart replays about this, which takes half a second. */
  journalSnapshotBytes: 16_777_216,
  /** Growth after which a snapshot is tried again for which there was no room. */
  journalSnapshotRetryBytes: 4_194_304,
  /** Between two tries of a write for which there was no room. */
  diskFullRetryMs: 1_000,
  /** Bytes that the output writer takes from its queue before it syncs: many small results share a sync, none waits long. */
  outputGroupBytesMax: 8_388_608,
  /** Staging segments whose files are kept open between two groups. */
  stagingFilesOpenMax: 64,
  /** Times that the disk may refuse an output to be sealed, want of room not counted, before its job fails. */
  sealTriesMax: 3,
  /** Bytes of the output that a sealed manifest has one checksum for: damage is located as finely, and a terabyte has 250,000 of them. */
  sealedSegmentBytes: 4_194_304,
  /** Of an earlier output, from which rows are cut out in memory. */
  takenSegmentBytesMax: 268_435_456,
  /** `_manifest.json` itself: larger is none of ours. A line of its chunks: a path, a message and its detail. */
  manifestBytesMax: 67_108_864,
  manifestLineBytesMax: 1_048_576,
  /** Findings of a verification that are told one by one; all are counted. */
  verifyFindingsMax: 1_000,
  /** Input files that a verification looks at at once. */
  verifyStatsAtOnce: 64,
  /** Lines of one file of a sealed manifest. */
  sealedChunkFilesMax: 100_000,

  /** A second attempt at a straggler: when so much of the job is done, … */
  speculationDoneMin: 0.9,
  /** … and it has run for longer than so many times the median, which ordinary unevenness does not, … */
  speculationMedians: 3,
  /** … and for so long that a host killed for its sake is worth it. */
  speculationRunMsMin: 30_000,
  /** A lease that has not begun for this long is taken back for an idle node; one that has just arrived is about to begin. */
  recallAfterMs: 1_000,
  /** So long a mini-batch waits for another node than the one that failed it or gave it back, while there is another. */
  avoidNodeMs: 60_000,
  /** Different mini-batches that fail on a node and on no other, while others score as many: the node is to blame. */
  sickNodeMiniBatchesMin: 5,
  /** Mini-batches that are remembered to have failed on one node. */
  sickNodeBlamedMax: 1_000,
  /** Failures of init() on a node without a mini-batch scored between, while it goes well elsewhere. */
  sickNodeInitFailures: 5,
  /** Pending mini-batches that are looked at for one that is not to be kept from a node. */
  pendingLookedAtMax: 64,
  /** A mini-batch whose nodes vanish this often is treated as one that crashes its node. */
  lostLeasesMax: 4,
  /** Failures of init() on one deployment, with no success anywhere, that fail the job; times the slots of a node. */
  initFailuresPerSlot: 3,
  /** The same over all nodes: so many times all slots, once the job has run for so long. @source Azure ML batch */
  initFailuresPerSlotOfAll: 2,
  initFailuresRunMsMin: 120_000,
  /** One mini-batch whose parts all fail alike has bad neighbours; three, before anything was ever scored, have a bad scorer. */
  brokenMiniBatchesMin: 3,
  /** Time that attempts need beside run(), before a job counts as stuck. @source Azure ML batch: 3 × timeout + 30 s */
  progressOverheadMs: 30_000,
  /** Backoff before a failed mini-batch is tried again: doubled each time. */
  retryBackoffMs: 250,
  retryBackoffMsMax: 30_000,

  /** retry_settings of an Azure-form YAML. */
  maxRetriesDefault: 3,
  timeoutMsDefault: 30_000,
  /** Of a bare model or script: nobody has said how long run() takes, so only what hangs is ended. */
  bareTimeoutMsDefault: 300_000,
  timeoutMsMax: 259_200_000,

  /** The end of stderr that goes with a failure. */
  stderrTailBytes: 4_096,
  failureMessageCharsMax: 4_000,

  /** init() may load gigabytes; a host that says nothing for this long is replaced. */
  hostInitMsMax: 600_000,
  /** A shadow that cannot be started, or whose host is lost, so many times in a row on a node is not tried there any more. */
  shadowStartsMax: 3,
  shadowDeathsMax: 10,
  /** Until its model and code are fetched again. */
  shadowRetryMs: 1_000,
  /** Reasons for which a shadow had no result, one for each code. */
  shadowReasonsMax: 8,
  /** Between two looks at the memory of scoring hosts at work: at 2 GB/s one gets 200 MB past its limit. */
  memoryLookMs: 100,
  /** Between two looks at how full GPUs are while scoring hosts have them; whole seconds, which drivers want. */
  gpuLookMs: 5_000,
  /** A driver's program that says nothing of use for this long is ended, and what it said last is not true any more. */
  gpuSilenceMs: 30_000,
  /** Between two starts of one that fails again and again, at most. */
  gpuRetryMsMax: 300_000,
  /** Of one look: the long form of a GPU is 20 KB, and of a program that holds memory 300 bytes. */
  gpuLookCharsMax: 4_194_304,
  /** GPUs and instances that a worker node tells of, and characters of a name: 16 GPUs in seven instances each are the most there is. */
  gpusTold: 128,
  gpuNameCharsMax: 128,
  /** Between SIGTERM and SIGKILL. */
  hostStopMs: 2_000,
  /** How long a scoring host waits for the next job of its deployment: jobs that a person or a script starts one after the other. */
  warmHostMsMax: 300_000,
  /** Between two looks at the memory of the machine while such hosts wait. */
  warmHostLookMs: 5_000,
  /** Share of the machine's memory that must be free for them to wait on. */
  warmHostFreeShare: 0.2,

  /** The folder of a bare scoring script ships as its code; above this it is surely not meant to. */
  bareCodeFilesMax: 1_000,
  bareCodeBytesMax: 268_435_456,

  /** A Python that takes longer than this to parse a script is broken; the script is then not checked. */
  scriptCheckMsMax: 10_000,

  /** A conda file travels with its job, to every node. */
  condaYamlCharsMax: 262_144,
  /** Solving for conda and compiling without wheels take their time; an installer that hangs is ended after it. */
  environmentBuildMsMax: 3_600_000,
  /** Slots that ask for an environment right after it could not be built are told so without another try. */
  environmentFailureKeptMs: 10_000,
  /** Lines of the installer that go with the failure; the log has all of them. */
  environmentLogLinesKept: 20,
  /** Between two lines of progress, and between two signs of life of whoever builds. */
  environmentProgressMs: 1_000,
  /** What a node says of it, in one line. */
  preparationCharsMax: 400,
  /** Between two looks at an environment that another process builds. */
  environmentLockPollMs: 250,
  /** A builder on a machine into which we cannot look is taken for dead when it gives no sign for this long. */
  environmentLockSilentMs: 60_000,

  /** Body of an HTTP request; a deployment with its environment variables is a few kilobytes. */
  apiBodyBytesMax: 1_048_576,
  /** Characters of a row that is shown among others. */
  shownRowChars: 400,
  /** Of what was printed during an attempt, when it is shown beside a row. */
  shownLogBytes: 4_096,
  /** Of two outputs, unless more are asked for. */
  differencesShown: 20,
  /** Of one artifact that comes over HTTP. */
  uploadBytesMax: 1_099_511_627_776,
  uploadFilesMax: 1_000_000,
  uploadPathCharsMax: 1_024,
  /** Of as many blobs a coordinator remembers that it has read them and that they are what their digests say. */
  blobsCheckedMax: 100_000,
  /** Jobs of a list when the caller does not say how many, as Azure has it; and how many at most. */
  apiPage: 50,
  apiPageMax: 1_000,
  /** Of a tag, a property or a description. */
  labelCharsMax: 4_096,
  /** Event streams that are open at a time: each holds a connection. */
  apiStreamsMax: 1_000,
  /** A silent event stream says that it lives this often: proxies cut connections that are quiet for 30 to 60 s. */
  apiKeepAliveMs: 15_000,
  /** The cluster's own CA outlives the machines; a new one means that every worker node joins anew. */
  authorityMs: 315_360_000_000,
  /** The server's certificate is made at each start and renewed when two thirds of its life are over. */
  serverCertificateMs: 7_776_000_000,
  /** A worker node that was away for longer joins with a token again; a connected one renews in time. */
  nodeCertificateMs: 2_592_000_000,
  /** How far behind a clock may be that looks at a certificate which has just been made. */
  certificateSkewMs: 3_600_000,
  /** How often it is looked whether a certificate is to be renewed. */
  certificateLookMs: 60_000,
  /** A request for a certificate, PEM: one for P-256 has some 500 bytes. */
  certificateRequestBytesMax: 8_192,
  /** A join token passes for so long, and one that is asked for may pass for so long. */
  joinTokenMs: 86_400_000,
  tokenMsMax: 315_360_000_000,
  tokenMs: 7_776_000_000,
  /** Tokens and certificates that are kept: a list of them is one answer. */
  tokensMax: 10_000,

  /** Slow peers: a TLS handshake, the headers of a request, and its body unless it is an upload are to be whole by then. */
  handshakeMsMax: 10_000,
  apiHeadersMsMax: 10_000,
  apiBodyMsMax: 30_000,
  /** A connection on which nothing moves for so long is ended; event streams say something more often. */
  apiIdleMsMax: 120_000,
  /** So much of a body is read after its refusal: more than is on its way when the sender hears of it. */
  apiDroppedBytesMax: 67_108_864,
  /** Someone who asks for a certificate has one soon; a connection without one is ended then. */
  enrolMsMax: 30_000,
  /** Names, values and tokens fit ten times; more is an attack or a mistake. */
  apiHeaderBytesMax: 16_384,
  apiHeadersMax: 100,
  /** Open connections of callers, and of worker nodes; one node has its control connection, bulk ones and their successors. */
  apiConnectionsMax: 4_096,
  apiConnectionsPerAddressMax: 1_024,
  /** A crowd of connections is told of this often: its refusals are as many as it likes. */
  apiCrowdToldMs: 60_000,
  /** How often it is looked for connections that are too slow. */
  apiLookMs: 1_000,
  nodeConnectionsMax: 65_536,
  /** Connections to the worker nodes' port that the kernel keeps until they are taken; it takes less where `somaxconn` says less. */
  arrivalsMax: 4_096,
  /** New ones that are let in per turn of the event loop: a handshake costs 1 ms, and what has joined waits for no more than that. */
  arrivalsPerTurn: 8,
  /** Whoever has waited so long to be let in has gone: callers wait no longer for their first answer. */
  arrivalMsMax: 5_000,
  /** What it may say until then: the first message of a handshake is a tenth of that. */
  arrivalBytesMax: 16_384,
  connectionsPerNodeMax: 64,
  /** Of peers that have not said yet who they are, by address. */
  strangersPerAddressMax: 256,
  /** Calls at a time on one connection of a worker node. */
  callsPerConnectionMax: 1_024,
  /** Requests of one caller in ten seconds: far above what people and scripts need, and far below what hurts. */
  apiRequestsMax: 5_000,
  apiRequestsWindowMs: 10_000,
  /** Callers whose requests are counted, the latest. */
  apiRatedCallersMax: 10_000,

  /** The audit log is put aside at this size; so many of those that were put aside are kept. */
  auditFileBytesMax: 16_777_216,
  auditFilesMax: 8,
  /** Refusals of those who are not known, within the window of requests; more are only counted. */
  auditStrangersMax: 100,
  /** Entries in one answer. */
  auditEntriesMax: 1_000,
  /** A path in it is cut to this. */
  auditPathCharsMax: 512,

  /** A secret, bytes; certificates and keys of services fit. */
  secretBytesMax: 65_536,
  secretsMax: 1_000,
  /** Shorter values stand in too many innocent texts to be masked in logs. */
  secretMaskedCharsMin: 6,

  /** A client that waits for a job outlives a coordinator that is away for this long. */
  clientReconnectMsTotal: 60_000,
  /** A coordinator that says nothing for this long, not even that it is alive, is gone without a word. */
  clientSilenceMsMax: 300_000,

  /** What runs when a job is canceled may end and be committed, unless somebody asks again. */
  cancelGraceMs: 30_000,
  cancelGraceMsMax: 86_400_000,
  /** Files that one record of a job cuts anew: as many sizes at most, about a megabyte. */
  recutFilesMax: 131_072,
  /** Between two looks for finished jobs that are kept no longer. */
  pruneEveryMs: 60_000,
  /** Between two looks at schedules, whose finest grain is a minute. */
  scheduleLookMs: 1_000,
  /** A run that is begun so much later than it was due is no missed one yet: a restart takes seconds. */
  scheduleLateMs: 60_000,
  /** Missed runs of a schedule that are begun, the latest: after a month that nobody was there, a cluster is not to be buried. */
  scheduleCatchUpMax: 100,
  /** Expressions that are kept parsed. */
  scheduleTimesKept: 1_000,

  /** Jobs that have ended of which lines and sizes of logs are kept in memory, the newest. */
  endedJobsRemembered: 64,
  /** Given-up files of a job that keep their traceback in memory; the others keep code and message. */
  failureDetailsKept: 1_000,
  /** Lines of a job that a late follower still gets. */
  jobEventsKept: 1_000,
  /** Of one job in one process, told or not: a line a microsecond would take twenty minutes. Nine million processes fit into a number. */
  jobEventsPerEpoch: 1_000_000_000,
  /** Between two looks at deadlines, and the lateness of one that counts as a stall. */
  tickMs: 200,
  stallMsMin: 100,
  /** Between two lines of progress of a job. */
  progressMs: 500,
  /** A node that is lost or gone is shown for this long. */
  nodeForgetMs: 3_600_000,
  /** After a restart, nothing is granted until all nodes are back that may hold leases, or for this long: longer than they take. */
  restartGraceMs: 3_000,

  reconnectMsMin: 100,
  /** Short, since the work of a coordinator that was restarted waits for its nodes. */
  reconnectMsMax: 1_000,
  /** A worker node that starts tries this long to reach its coordinator before it gives up. */
  joinMsMax: 10_000,
  /** So long when the coordinator is there and has a thousand others to serve that came at the same time. */
  joinBusyMsMax: 120_000,

  /** Pings on a connection, and how long an answer may take: a frozen peer is noticed after the sum. */
  keepaliveMs: 10_000,
  keepaliveTimeoutMs: 10_000,
  /** Both of the control connection where a standby may take over: noticed when the leader's lease has ended, not long after. */
  watchedKeepaliveMs: 3_000,
  /** A grant of the largest mini-batch, or its result with a row count and a reason for every file. */
  messageBytesMax: 67_108_864,
  /** Receive window of either end: what may be under way towards it in one round trip. */
  receiveWindowBytes: 8_388_608,
  /** Inline results of one report; the rest goes with the next, so that a heartbeat is never far behind. */
  reportInlineBytesMax: 1_048_576,
  /** A traceback, or the end of stderr with some context. */
  failureDetailCharsMax: 16_384,
  /** Reasons of all failed files of one mini-batch together. */
  fileFailuresCharsMax: 8_388_608,

  /** Leases whose inputs a node stages at once, and files that it fetches at once; the others wait their turn. */
  stagingLeasesMax: 32,
  stagingFetchesMax: 8,
  /** Broken connections in a row, without a byte between, after which a fetch is given up. */
  fetchFailuresMax: 5,
  /** How often a scoring host that runs a script in JavaScript looks whether its worker node is there. */
  hostParentLookMs: 500,
  /** How often a worker node shows that it lives, and how long one that nobody can look at may show nothing. */
  nodeLockBeatMs: 5_000,
  nodeLockSilentMs: 30_000,
  /** Models and code that no job has used for this long leave the cache; half-fetched ones sooner. */
  artifactUnusedMsMax: 2_592_000_000,
  artifactPartialMsMax: 86_400_000,
  /** Models and code on a worker node's machine; a large language model in half precision fits several times. */
  artifactCacheBytesMax: 100_000_000_000,
  /** What was used this recently may be in use by another worker node that shares the cache, and stays. */
  artifactFreshMs: 3_600_000,
  /** Smaller artifacts come from the coordinator alone: finding another node takes as long as fetching them. */
  artifactSharedBytesMin: 1_048_576,
  /** Worker nodes that take one artifact from the coordinator at once; the others wait for one that has it. */
  artifactSeedsMax: 2,
  /** Worker nodes that another one serves with one artifact at once: its uplink is theirs together. */
  artifactServedMax: 4,
  /** How long a fetch is believed to go on: this, and its bytes at a slow network’s speed (10 MB/s). */
  artifactSpreadMsMin: 10_000,
  artifactSpreadBytesPerMs: 10_000,
  /** Artifacts of which it is known who has them; the ones of a few hundred jobs. */
  artifactSpreadsMax: 1_000,
  /** A worker node that so many others could not have an artifact from is sent nobody any more. */
  artifactPeerFailuresMax: 2,
  /** After so many nodes in vain, an artifact is fetched from the coordinator: a firewall may be between all of them. */
  artifactPeersTriedMax: 2,
  /** While all who have an artifact have enough to do. */
  artifactAskAgainMs: 250,
  /** Of the key that tickets are made with; as long as their digest. */
  artifactKeyBytes: 32,
  /** Silence of another worker node after which it is left for the next, at the connection and in the midst of bytes. */
  artifactPeerSilentMs: 3_000,
  /** Listings of folders that a node keeps in memory for others; one with more files is not offered. */
  artifactListingsBytesMax: 16_777_216,
  /** One Join call; a machine that is switched off answers nothing at all. */
  joinCallMsMax: 5_000,
  /** How long the end of a control stream waits for the coordinator’s goodbye. */
  leaveMsMax: 1_000,
  /** Sessions of one worker node that are known at once: those of joins whose answers it has not waited for are among them. */
  sessionsPerNodeMax: 4,
  /** Upload streams of a node, each with its own connection: a result that waits holds up one of them. */
  uploadStreamsMax: 4,
  /** A line of a mini-batch is written with others that come this soon after it, or that are so many together. */
  logLinesMs: 100,
  logLinesCharsMax: 65_536,
  /** Between two looks at what is new in the logs of a job that runs. */
  logShipMs: 1_000,
  /** One message with bytes of a log; one is under way at a time. */
  logPieceBytes: 262_144,
  /** A log that user code keeps and may write anew is sent whole up to this size; above it it is taken to grow only. */
  logRewriteBytesMax: 65_536,
  /** Log files of one job that a node sends. */
  jobLogFilesMax: 10_000,
  /** What a node may have sent of one log file: the bound of a stream with its note, and room for what user code keeps. */
  logFileBytesMax: 1_073_741_824,
  /** A node that leaves sends what is left of its logs, but not for longer than this. */
  logLeaveMsMax: 5_000,
  /** Failed attempts that a job's log tells one by one; a job whose every file fails would tell millions. */
  jobErrorsLogged: 10_000,
  /** Kinds of errors that a job's log tells, and those of one page of the API. */
  jobErrorGroupsLogged: 100,
  apiErrorGroupsMax: 1_000,
  /** Things that the command line asks for in one list; the most that a coordinator gives. */
  clientPageMax: 1_000,
  /** Between two lines of progress in a job's log. */
  jobLogProgressMs: 10_000,
  /** What user code prints, per scoring host and stream; the rest is dropped. */
  hostLogBytesMax: 67_108_864,
  /** Jobs whose logs a node keeps, the newest. */
  jobLogsKept: 100,
  /** Results that wait in a node's memory for their commit; above this it starts no mini-batch until some are durable. */
  heldResultBytesMax: 536_870_912,
  /** The same of all that wait, on its disk too. */
  spoolBytesMax: 2_147_483_648,
  heldResultsMax: 4_096,
  /** A slot keeps the host that it has while a mini-batch of another job waits, but not longer than this. */
  hostAffinityMs: 10_000,
  /** `doctor`: how long a worker node is waited for, and before that each thing on a machine that may not answer, such as a dead mount. */
  diagnosisMsMax: 5_000,
  diagnosisLookMsMax: 3_500,
  /** Paths that are asked about at once, each of at most the length that Linux knows. */
  diagnosisPathsMax: 16,
  diagnosisPathCharsMax: 4_096,
  /** What a worker node says of its machine and the paths, characters of all texts together. */
  diagnosisCharsMax: 65_536,
  diagnosisTextCharsMax: 1_024,
  /** Names of a folder that are compared; 16 paths of 8 names of 255 characters are well within the answer. */
  diagnosisNamesMax: 8,
  /** Entries of a folder that are counted: a folder of millions would take longer than anyone waits. */
  diagnosisEntriesMax: 100_000,
  /** For how long the event loop is watched. */
  diagnosisLoopMs: 300,
  /** A job that the coordinator does not name for this long after a reconnect, and that holds no lease, has ended. */
  unannouncedJobMs: 60_000,
} as const;

invariant(limits.inlineResultBytesMax <= limits.directAppendBytesMax, 'an inline result must fit the direct path');
invariant(limits.arrivalMsMax >= limits.joinCallMsMax, 'nobody is turned away while he waits');
invariant(limits.reconnectMsMax < limits.restartGraceMs, 'nodes come back within the grace');
invariant(limits.uploadChunkBytes <= 1_048_576, 'gRPC streams messages of at most 1 MiB well');
invariant(limits.directAppendBytesMax <= limits.uploadCreditBytes, 'a result held in memory must fit the credit');
invariant(limits.diagnosisLookMsMax < limits.diagnosisMsMax, 'a node answers in time what it could not see');
invariant(limits.frameRowsBytes <= limits.framePayloadBytesMax, 'a piece of rows must fit a frame');

/** Heartbeat interval for a cluster of `nodes` worker nodes: the coordinator handles about 200 heartbeats a second. */
export function heartbeatMs(nodes: number): number {
  return Math.max(limits.heartbeatMsMin, Math.ceil((nodes / 200) * 1_000) + 1_000);
}
