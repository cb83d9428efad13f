/**
 * The closed list of errors. Everything that can go wrong has a code here; nobody reads message texts.
 * `docs/errors.md` is generated from this table.
 */

/** Who must act: the caller, the author of model or script, the operator of the machines, or nobody (it passes). */
export type ErrorCategory = 'caller' | 'scorer' | 'input' | 'operator' | 'transient' | 'internal';

export interface ErrorRule {
  readonly category: ErrorCategory;
  /** The same request may succeed when sent again unchanged. */
  readonly isRetryable: boolean;
  /** A mini-batch that fails with it has used one of its tries. */
  readonly usesTry: boolean;
  /** gRPC status number (google.rpc.Code). */
  readonly grpc: number;
  readonly http: number;
  /** Process exit code: 1 failed, 2 usage, 3 not found, 4 canceled, 5 cannot reach, 6 refused. */
  readonly exit: number;
  /** What it means and what to do, in one or two sentences; the text of docs/errors.md. */
  readonly help: string;
}

const caller = (help: string, http = 400, grpc = 3, exit = 2): ErrorRule => ({
  category: 'caller',
  isRetryable: false,
  usesTry: false,
  grpc,
  http,
  exit,
  help,
});
const scorer = (help: string, usesTry = true): ErrorRule => ({
  category: 'scorer',
  isRetryable: false,
  usesTry,
  grpc: 9,
  http: 422,
  exit: 1,
  help,
});
const input = (help: string): ErrorRule => ({
  category: 'input',
  isRetryable: false,
  usesTry: true,
  grpc: 9,
  http: 422,
  exit: 1,
  help,
});
const operator = (help: string, http = 503, grpc = 9, exit = 1): ErrorRule => ({
  category: 'operator',
  isRetryable: false,
  usesTry: false,
  grpc,
  http,
  exit,
  help,
});
const transient = (help: string, http = 503, grpc = 14, exit = 5): ErrorRule => ({
  category: 'transient',
  isRetryable: true,
  usesTry: false,
  grpc,
  http,
  exit,
  help,
});

export type ErrorCode =
  | 'USAGE'
  | 'CONFIG_INVALID'
  | 'CONFIG_UNKNOWN_KEY'
  | 'DEPLOYMENT_NOT_FOUND'
  | 'DEPLOYMENT_INVALID'
  | 'LOCATION_INVALID'
  | 'INPUT_NOT_FOUND'
  | 'INPUT_EMPTY'
  | 'INPUT_LIST_INVALID'
  | 'OUTPUT_EXISTS'
  | 'OUTPUT_IN_INPUT'
  | 'SINCE_UNUSABLE'
  | 'COMPARE_UNUSABLE'
  | 'JOB_NOT_FOUND'
  | 'RESOURCE_NOT_FOUND'
  | 'RESOURCE_EXISTS'
  | 'RESOURCE_CHANGED'
  | 'RESOURCE_IN_USE'
  | 'IDEMPOTENCY_MISMATCH'
  | 'JOB_NOT_FINISHED'
  | 'JOB_ENDED'
  | 'NOTHING_FAILED'
  | 'REQUEST_INVALID'
  | 'LISTEN_FAILED'
  | 'MODEL_INVALID'
  | 'MODEL_UNSUPPORTED'
  | 'SCRIPT_INVALID'
  | 'SCORER_INIT_FAILED'
  | 'SCORER_FAILED'
  | 'SCORER_OUTPUT_INVALID'
  | 'SCORER_TIMEOUT'
  | 'SCORER_OUT_OF_MEMORY'
  | 'NO_PROGRESS'
  | 'CUSTOM_OUTPUT_INVALID'
  | 'ENVIRONMENT_INVALID'
  | 'ENVIRONMENT_UNSUPPORTED'
  | 'ENVIRONMENT_BUILD_FAILED'
  | 'LOG_NOT_FOUND'
  | 'CONTEXT_NOT_FOUND'
  | 'SCORER_CRASHED'
  | 'RESULT_SCHEMA_MISMATCH'
  | 'PARTITION_INVALID'
  | 'NO_RESULTS'
  | 'ERROR_THRESHOLD_EXCEEDED'
  | 'INPUT_UNREADABLE'
  | 'INPUT_CHANGED'
  | 'INPUT_DECODE_FAILED'
  | 'INPUT_COLUMNS_MISSING'
  | 'INPUT_UNSUPPORTED'
  | 'STORE_DENIED'
  | 'STORE_UNREACHABLE'
  | 'COORDINATOR_UNREACHABLE'
  | 'STREAMS_EXHAUSTED'
  | 'TOKEN_INVALID'
  | 'FORBIDDEN'
  | 'SERVER_UNTRUSTED'
  | 'TOO_MANY_REQUESTS'
  | 'SECRET_NOT_FOUND'
  | 'SERVER_UNTRUSTED'
  | 'PYTHON_NOT_FOUND'
  | 'PROTOCOL_MISMATCH'
  | 'SESSION_UNKNOWN'
  | 'NAME_TAKEN'
  | 'LEASE_STALE'
  | 'LEASE_EXPIRED'
  | 'NODE_LOST'
  | 'ARTIFACT_NOT_FOUND'
  | 'ARTIFACT_CORRUPT'
  | 'CREDIT_EXCEEDED'
  | 'FRAME_CORRUPT'
  | 'DISK_FULL'
  | 'STATE_LOCKED'
  | 'STATE_UNWRITABLE'
  | 'JOURNAL_CORRUPT'
  | 'JOURNAL_VERSION'
  | 'JOURNAL_FENCED'
  | 'NOT_LEADING'
  | 'STANDBY_STORAGE'
  | 'NO_STANDBY'
  | 'JOURNAL_STREAM_LOST'
  | 'JOURNAL_STREAM_STALLED'
  | 'JOURNAL_STREAM_UNFIT'
  | 'JOURNAL_STREAM_UNREACHABLE'
  | 'SLURM_FAILED'
  | 'OUTPUT_CORRUPT'
  | 'OUTPUT_INCOMPLETE'
  | 'MANIFEST_INVALID'
  | 'SIGNATURE_INVALID'
  | 'JOB_CANCELED'
  | 'INTERNAL';

export const errorRules: Readonly<Record<ErrorCode, ErrorRule>> = {
  // The caller's request
  USAGE: caller('The command line is not of the expected form; the message names the argument. See --help.'),
  CONFIG_INVALID: caller(
    'A YAML file or --set value is not valid; the message gives file, line and column. Correct it and run again.',
  ),
  CONFIG_UNKNOWN_KEY: caller('A YAML file has a key that is not known; the message gives the nearest known one.'),
  DEPLOYMENT_NOT_FOUND: caller('The deployment file, model or script does not exist at the path given.', 404, 5, 3),
  DEPLOYMENT_INVALID: caller(
    'The deployment lacks something that it needs to score (a model, a script); the message says what.',
  ),
  LOCATION_INVALID: caller(
    'The location of an input is not of a form that is known, has a credential in it, or names a datastore that is not in the table; the message says what was wanted.',
  ),
  INPUT_NOT_FOUND: caller('The input path does not exist on the machine that lists it.', 404, 5, 3),
  INPUT_EMPTY: caller(
    'The input holds no file to score. Names beginning with "." or "_" are skipped, and what --include and --exclude leave out; the message counts them by reason.',
  ),
  INPUT_LIST_INVALID: caller(
    'The list of inputs is not of its form, or has a line that names no file below the input, or one that was named before; the message gives the line. Correct the list and run again.',
  ),
  OUTPUT_EXISTS: caller(
    'The output folder already holds results, which --overwrite replaces, or a job is writing to it. Choose another one.',
    409,
    6,
  ),
  SINCE_UNUSABLE: caller(
    'No rows can be taken from the earlier output that --since names; the message says why. Name another one, or leave --since out.',
  ),
  OUTPUT_IN_INPUT: caller(
    'The output folder lies in the input folder, where results would be taken for files to score. Choose another one.',
  ),
  JOB_NOT_FOUND: caller('No job has this name.', 404, 5, 3),
  RESOURCE_NOT_FOUND: caller(
    'Nothing is registered under that name: no endpoint, deployment, model, data asset, environment, datastore or compute. `list` shows those there are.',
    404,
    5,
    3,
  ),
  RESOURCE_EXISTS: caller('That version of an asset is something else, and versions never change.', 409, 6, 6),
  RESOURCE_CHANGED: caller(
    'Somebody changed it since it was read; read it again, and send the change anew.',
    412,
    9,
    6,
  ),
  RESOURCE_IN_USE: caller('Jobs of it have not ended. Wait, cancel them, or force the removal.', 409, 9, 6),
  IDEMPOTENCY_MISMATCH: caller(
    'The same Idempotency-Key came with another request before. Use a new key for each request, and the same one only to send it again.',
    422,
  ),
  COMPARE_UNUSABLE: caller(
    'The outputs cannot be laid beside each other: they are of different inputs, have no file of rows, have rows that cannot be told from each other, or are not what was sealed.',
    409,
    9,
    6,
  ),
  LOG_NOT_FOUND: caller('The job has no such log, or no node has sent it yet.', 404, 5, 3),
  CONTEXT_NOT_FOUND: caller('No context has this name; `batchmill context list` shows those there are.', 404, 5, 3),
  JOB_NOT_FINISHED: caller('The job has not reached a final state; wait for it first.', 409, 9),
  JOB_ENDED: caller(
    'The job has ended, and what was asked for is for jobs that run. `job resume` goes on with one that failed or was canceled, `job retry --failed-only` with the failed files of any.',
    409,
    9,
  ),
  NOTHING_FAILED: caller('No file of the job has failed, so there is nothing to score again.', 409, 9),
  REQUEST_INVALID: caller('The request body is not of the expected form; the message names the field.'),
  LISTEN_FAILED: operator(
    'The address cannot be listened on: it is taken, not of this machine, or not permitted. Choose another --listen or --http.',
    503,
    9,
    6,
  ),

  // The scorer: model and script
  MODEL_INVALID: scorer(
    'The model file cannot be loaded by the scorer; the message has the loader’s own words.',
    false,
  ),
  MODEL_UNSUPPORTED: scorer(
    'The model loads, but the built-in scorer cannot feed its inputs or use its outputs, or settings.onnx does not fit it; the message has what the model takes and gives. Use a scoring script for what settings cannot say.',
    false,
  ),
  SCRIPT_INVALID: scorer(
    'The scoring script cannot be loaded: a syntax error, a failing import, or no init() or run().',
    false,
  ),
  SCORER_INIT_FAILED: scorer('init() raised. The traceback is in the log of the scoring host.', false),
  SCORER_FAILED: scorer(
    'run() raised on this mini-batch. The traceback is in the message and in the log of the scoring host.',
  ),
  SCORER_OUTPUT_INVALID: scorer(
    'run() returned something other than a list, tuple, array, DataFrame or Series of results.',
  ),
  SCORER_TIMEOUT: scorer('run() took longer than retry_settings.timeout; the scoring host was killed and replaced.'),
  SCORER_CRASHED: scorer(
    'The scoring host died while it held this mini-batch; exit code or signal and the end of stderr are in the message.',
  ),
  SCORER_OUT_OF_MEMORY: scorer(
    'The scoring host and what it started used more memory than settings.resources.memory, or the machine had no more. It was killed and replaced.',
  ),
  NO_PROGRESS: scorer(
    'No attempt has ended for settings.progress_update_timeout although mini-batches were being scored; the job was stopped. The message says which, and where; their logs say what they were at.',
    false,
  ),
  CUSTOM_OUTPUT_INVALID: scorer(
    'A file that the script wrote to AZUREML_BI_OUTPUT_PATH cannot be published: its name is one of ours, it is no plain file, or the script has removed the folder itself.',
  ),
  ENVIRONMENT_INVALID: caller(
    'The environment is not of a form that can be built: the conda file is none, or points to files outside of itself.',
  ),
  ENVIRONMENT_UNSUPPORTED: operator(
    'The worker node lacks the tool that the environment needs (conda, mamba or micromamba; Apptainer or Docker). Install it there, or name an interpreter that is there with --environment.',
  ),
  ENVIRONMENT_BUILD_FAILED: scorer(
    'The packages of the environment cannot be installed; the message has the installer’s own last lines, the build log has all of them. Mend the file, have the Python that it asks for (or micromamba) on the worker nodes, or name an environment that is there: --environment PATH.',
    false,
  ),
  RESULT_SCHEMA_MISMATCH: scorer(
    'The result’s columns differ from those of the first rows of the job; the message names them.',
    false,
  ),
  PARTITION_INVALID: scorer(
    'output.partition_by names a column that the rows do not have, one whose values name no folder, or one of too many values. Change it and run the job again; the message names the columns.',
    false,
  ),
  NO_RESULTS: scorer('No mini-batch returned any row, so there is nothing to append. Look at _errors.jsonl.', false),
  ERROR_THRESHOLD_EXCEEDED: scorer('More files failed than error_threshold allows. Look at _errors.jsonl.', false),

  // Single input files
  INPUT_UNREADABLE: input('The file cannot be read (permission, I/O error, or it vanished after it was listed).'),
  INPUT_CHANGED: input('The file is not the one that was listed: its size, modification time or etag differs.'),
  INPUT_DECODE_FAILED: input(
    'The file is not of the format that its scorer reads (an image that is none, a broken CSV).',
  ),
  INPUT_COLUMNS_MISSING: input('The file lacks columns that the model needs; the message names them.'),
  INPUT_UNSUPPORTED: input('The scorer does not read files of this kind.'),

  // Object stores and web servers
  STORE_DENIED: operator(
    'The store does not let us in: the credentials are missing, wrong, or not for this. The message names the variables that were looked at.',
    403,
    7,
    6,
  ),
  STORE_UNREACHABLE: transient(
    'The store does not answer, answers with errors of its own, or asks for patience, and went on so when it was asked again.',
  ),

  // The cluster
  COORDINATOR_UNREACHABLE: transient(
    'Nobody answers at the coordinator’s address. Is it started, and is the address right?',
  ),
  STREAMS_EXHAUSTED: transient(
    'As many event streams are open as there may be. Close some, or ask for the job itself from time to time.',
    503,
    8,
  ),
  TOKEN_INVALID: operator(
    'The token or certificate is missing, not this coordinator’s, expired or revoked. A caller gets one with `batchmill token create`; for worker nodes `coordinator start` and `node token` print the line to join with.',
    401,
    16,
    6,
  ),
  FORBIDDEN: operator(
    'The caller is known, but its role does not allow this: readers look, invokers run jobs and end their own, admins do all. The message names the role that is needed.',
    403,
    7,
    6,
  ),
  SERVER_UNTRUSTED: operator(
    'What answers at the address does not prove to be the coordinator that was meant: its certificate is of another authority. Compare the fingerprint with the one that `coordinator start` prints.',
    502,
    14,
    6,
  ),
  TOO_MANY_REQUESTS: transient(
    'The caller has sent more requests than are served to one caller; wait a moment.',
    429,
    8,
  ),
  SECRET_NOT_FOUND: caller(
    'A deployment refers to a secret that is not there: `batchmill secret set NAME` makes it, `secret list` names those that are.',
    404,
    5,
    3,
  ),
  SLURM_FAILED: operator(
    'A command of Slurm (sbatch, squeue, scancel) failed; the message has its own words. `batchmill allocator slurm` runs where those commands work.',
  ),
  PYTHON_NOT_FOUND: operator(
    'The worker node has no Python interpreter that is new enough for a Python script. Install one, or name it with --python.',
  ),
  PROTOCOL_MISMATCH: operator(
    'Worker node and coordinator have no protocol version in common: each speaks the one of its release and the one before. The message says which of them to upgrade.',
    409,
    9,
    6,
  ),
  SESSION_UNKNOWN: transient(
    'The coordinator does not know this worker node (it was restarted); the node joins again by itself.',
    401,
    16,
  ),
  NAME_TAKEN: operator(
    'Another live worker node has this name, in the cluster or in this scratch folder. Choose another --name.',
    409,
    6,
    6,
  ),
  LEASE_STALE: {
    ...transient('The mini-batch is leased under another fencing token; this result is not needed any more.', 409, 9),
    isRetryable: false,
  },
  LEASE_EXPIRED: transient(
    'The worker node that held the mini-batch was not heard from in time; it is scored elsewhere.',
  ),
  NODE_LOST: transient('The worker node that held the mini-batch left or was lost; it is scored elsewhere.'),
  ARTIFACT_NOT_FOUND: operator('The coordinator does not hold an artifact of this digest.', 404, 5),
  ARTIFACT_CORRUPT: transient('An artifact’s bytes do not match its digest; it is fetched again.'),
  CREDIT_EXCEEDED: operator('A worker node sent more bytes than it had credit for; the connection is closed.', 429, 8),
  FRAME_CORRUPT: scorer(
    'A frame between worker node and scoring host has a wrong checksum or length: something wrote into the protocol.',
  ),

  // Durable state
  DISK_FULL: {
    ...operator('No space is left for output or journal; the job is paused and goes on when there is room.', 507, 8),
    isRetryable: true,
  },
  STATE_LOCKED: operator(
    'Another coordinator, or a `journal` command, uses this state directory; the message names its process.',
    409,
    9,
    6,
  ),
  STATE_UNWRITABLE: operator('The state or output directory cannot be written to.'),
  JOURNAL_CORRUPT: operator(
    'The journal is damaged before its end; nothing was changed. `batchmill journal verify DIR` says where, `batchmill journal repair DIR` which records and jobs a repair loses; or restore the state directory from a copy.',
  ),
  JOURNAL_VERSION: operator('The journal was written by a newer release.'),
  JOURNAL_FENCED: operator(
    'Another coordinator has appended to the journal’s stream and leads the cluster. This one ends; start it with --standby, so that it follows.',
  ),
  NOT_LEADING: transient(
    'This coordinator does not lead its cluster, or does not know whether it does: it stands by. Worker nodes and clients that know all addresses find the one that leads.',
  ),
  STANDBY_STORAGE: operator(
    'A standby cannot read what it would need to go on with the jobs: the state directory, or the folder of an input or output. Put it on storage that all coordinators have, under the same path.',
  ),
  NO_STANDBY: operator(
    'No other coordinator stands by, so that nobody could lead instead. Start one with `coordinator start --standby`.',
    409,
  ),
  JOURNAL_STREAM_LOST: operator(
    'The NATS servers have lost messages that they had acknowledged, or were given another stream of the same name. Nothing was changed; `batchmill journal verify` shows both copies of the journal.',
  ),
  JOURNAL_STREAM_STALLED: operator(
    'The NATS servers do not acknowledge: too few of them run, or the network is down. Work under way goes on, and new work is handed out as soon as they answer.',
  ),
  JOURNAL_STREAM_UNFIT: operator(
    'A NATS server or stream that may lose what it has acknowledged, or cannot do what the journal needs; the message says what to change. --accept-lossy-journal takes it all the same.',
  ),
  JOURNAL_STREAM_UNREACHABLE: transient(
    'No NATS server answers. Check the addresses and that the servers run with JetStream.',
  ),
  OUTPUT_CORRUPT: operator(
    'Committed bytes of a job’s output or of its staging folder are missing or changed on the disk. Run the job again.',
  ),
  OUTPUT_INCOMPLETE: operator(
    'The folder is not the whole output of a job that completed: the job still runs, has failed or was canceled, or its manifest or _SUCCESS is gone.',
  ),
  MANIFEST_INVALID: operator(
    'The manifest of an output contradicts itself: ranges with a hole or an overlap, sums that do not add up, or a form that is not ours. It was changed, or not made by Batchmill.',
  ),
  SIGNATURE_INVALID: operator(
    'The manifest is not signed with the key that was asked for, or was changed after it was signed.',
  ),

  // Fate of a job
  JOB_CANCELED: { ...caller('The job was canceled.', 409, 1, 4) },
  INTERNAL: {
    category: 'internal',
    isRetryable: false,
    usesTry: false,
    grpc: 13,
    http: 500,
    exit: 1,
    help: 'A defect in Batchmill itself. Please report it with the log.',
  },
};

/** True for a string that names a code of this release; codes of a newer peer are treated as INTERNAL. */
export function isErrorCode(value: string): value is ErrorCode {
  return Object.hasOwn(errorRules, value);
}

/** The rule of `code`, with the table's literal types widened. */
export function errorRule(code: ErrorCode): ErrorRule {
  return errorRules[code];
}
