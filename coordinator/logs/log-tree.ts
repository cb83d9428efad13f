/** Where things lie in a job's log folder: Azure's tree, with `_logs` in the output folder standing for `logs`. */
import { BatchError } from '../../common/core/batch-error.ts';
import { isConfined } from '../../common/storage/confine.ts';

export const logsDirName = '_logs';

/** Of the coordinator's own files. @source Azure ML batch log tree */
export const ownLogs = {
  readme: 'readme.txt',
  progress: 'job_progress_overview.txt',
  result: 'job_result.txt',
  errors: 'job_error.txt',
  userErrors: 'user/error.txt',
  story: 'user_logs/std_log_0.txt',
  batches: 'sys/job_report/processed_mini-batches.csv',
  processes: 'sys/job_report/process_summary.csv',
  nodes: 'sys/job_report/node_summary.csv',
} as const;

/** First line of the readme, by which the folder is known to be ours. */
export const readmeTitle = 'Logs of a Batchmill job';

export const readmeText: string = `${readmeTitle}

job_progress_overview.txt              how far the job was, and when
job_result.txt                         how it ended, and where to look
job_error.txt                          errors, the same ones counted together
user/stdout/NODE/processNNN.stdout.txt what a scoring process printed, and its Python log
user/stderr/NODE/processNNN.stderr.txt
user/error/NODE/processNNN.txt         tracebacks of init() and run()
user/error.txt                         failed attempts of all processes, in order of time
user/entry_script_log/NODE/            EntryScript().logger
user/mlflow/, user/mlruns/             what the script gave to mlflow.log_*
user/shadow/NODE/                      stdout, stderr and tracebacks of the job's shadow, which is no part of the above
user_logs/std_log_0.txt                the job's own story, as \`job stream\` shows it
sys/node/NODE/processNNN.txt           each mini-batch that a process had
sys/mini_batches/NODE/processNNN.jsonl the same for programs, with the bytes of stdout and stderr that belong to it
sys/job_report/                        the same as tables
sys/processes/NODE/processNNN.json     of a process that has ended: seconds of init(), most memory, columns of its rows

NODE is the name of a worker node, NNN counts the processes that it started for the job; one that replaces another has a
number of its own. An error here need not have changed the result: a failed mini-batch is tried again. The same from the
command line: \`batchmill job logs\`, \`batchmill job errors\`.
`;

/**
 * Path within the log folder of what `node` calls `name`: `user/stdout/process000.stdout.txt` of node-1 lies in
 * `user/stdout/node-1/process000.stdout.txt`. @throws REQUEST_INVALID for a name that is not of this form
 */
export function nodeLogPath(node: string, name: string): string {
  const [top = '', ...rest] = name.split('/');
  const isPlain = isConfined(name) && isConfined(node) && !node.includes('/') && !/[\\\p{Cc}]/u.test(name);
  if (isPlain && name.length <= pathCharsMax && (top === 'user' || top === 'sys') && rest.length > 0) {
    // What lies in no folder has no kind of its own.
    const [kind = '', ...path] = rest.length === 1 ? ['other', ...rest] : rest;
    if (!(top === 'sys' && kind === 'job_report')) return [top, kind, node, ...path].join('/');
  }
  throw new BatchError(
    'REQUEST_INVALID',
    `wanted the name of a log such as user/stdout/process000.stdout.txt, found ${JSON.stringify(name.slice(0, 200))}`,
  );
}

/** File systems take names of 255 bytes and paths of 4,096. */
const pathCharsMax = 1_024;
