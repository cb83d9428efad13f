/** What goes wrong with a scoring host, as errors that tell what was wanted, what was found, what to do. */
import { existsSync } from 'node:fs';
import { BatchError, type Failure } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { errnoOf, reasonOf } from '../../common/io/errno.ts';
import { describeExit, lastLine, type HostExit } from './host-exit.ts';

/** What is known of a host that was lost with a mini-batch in hand. */
export interface LostHost {
  /** Of the file that was open last; null when unknown. */
  readonly fileName: string | null;
  /** The end of stderr. */
  readonly stderr: string;
}

export function crash(exit: HostExit, lost: LostHost): BatchError {
  const said = exit.signal === null ? lastLine(lost.stderr) : '';
  const message = `the scoring host ${describeExit(exit)} while it held this mini-batch; ${openFile(lost)}`;
  return new BatchError('SCORER_CRASHED', said === '' ? message : `${message}; its last line was: ${said}`, {
    detail: lost.stderr,
  });
}

export function timeout(timeoutMs: number, lost: LostHost): BatchError {
  return new BatchError(
    'SCORER_TIMEOUT',
    `run() took longer than ${seconds(timeoutMs)} (retry_settings.timeout) and its scoring host was killed; ${openFile(lost)}`,
    { detail: lost.stderr },
  );
}

/** It used more than `settings.resources.memory` allows. */
export function memoryExceeded(usedBytes: number, allowedBytes: number, lost: LostHost): BatchError {
  return new BatchError(
    'SCORER_OUT_OF_MEMORY',
    `the scoring host used ${megabytes(usedBytes)} MB of memory, settings.resources.memory allows ` +
      `${megabytes(allowedBytes)} MB, and it was killed; ${openFile(lost)}`,
    { detail: lost.stderr },
  );
}

/** The same before init() was done. */
export function memoryExceededInInit(usedBytes: number, allowedBytes: number, stderr: string): BatchError {
  return new BatchError(
    'SCORER_OUT_OF_MEMORY',
    `the scoring host used ${megabytes(usedBytes)} MB of memory before init() was done, settings.resources.memory ` +
      `allows ${megabytes(allowedBytes)} MB, and it was killed; allow more, or load a smaller model`,
    { detail: stderr },
  );
}

/** The machine, or a limit that others have set, had no more to give: by the kernel's word, or by the host's own. */
export function memoryExhausted(how: string, lost: LostHost): BatchError {
  return new BatchError('SCORER_OUT_OF_MEMORY', `${how}; ${openFile(lost)}`, { detail: lost.stderr });
}

/** V8's last words. */
export function isHeapExhausted(stderr: string): boolean {
  return /FATAL ERROR: .*(?:JavaScript heap out of memory|Allocation failed)/.test(stderr);
}

/** A failure that user code was told by Python, numpy or torch as want of memory; any other stays what it is. */
export function withMemoryCode(failure: Failure): Failure {
  if (failure.code !== 'SCORER_FAILED') return failure;
  const code = 'SCORER_OUT_OF_MEMORY';
  if (deviceMemory.test(failure.message)) {
    return { ...failure, code, message: `the GPU, not the machine, has no memory left: ${failure.message}` };
  }
  const isMemory =
    /^(?:[\w.]+\.)?_?(?:Array)?(?:MemoryError|OutOfMemoryError)(?::|$)/.test(failure.message) ||
    failure.message.includes(runtimeMemory);
  return isMemory ? { ...failure, code } : failure;
}

/** Whether what somebody's code was told is want of memory, of the machine or of a device. */
export function isMemoryWant(message: string): boolean {
  return withMemoryCode({ code: 'SCORER_FAILED', message, detail: '' }).code === 'SCORER_OUT_OF_MEMORY';
}

/** The same, where it is a device's, or where who says so does not tell whose. */
export function isGpuWant(message: string): boolean {
  return deviceMemory.test(message) || message.includes(runtimeMemory);
}

/** ONNX Runtime says so of the machine's memory and of the GPU's. */
const runtimeMemory = 'Failed to allocate memory for requested buffer';

/**
 * What runtimes say when a GPU is full.
 * @source PyTorch (`torch.cuda.OutOfMemoryError`, `CUDA out of memory`, `HIP out of memory`), the CUDA runtime and its libraries
 * (`cudaErrorMemoryAllocation`, `…_STATUS_ALLOC_FAILED`), ONNX Runtime (`CUDA failure 2`), CuPy, TensorFlow
 */
const deviceMemory = new RegExp(
  [
    String.raw`\b(?:CUDA|HIP)(?: error)?: ?out of memory`,
    String.raw`\b(?:CUDA|HIP) out of memory`,
    String.raw`\bcuda\.OutOfMemoryError`,
    String.raw`\bcupy[\w.]*\.OutOfMemoryError`,
    String.raw`\b(?:cudaErrorMemoryAllocation|hipErrorOutOfMemory|CUDA_ERROR_OUT_OF_MEMORY)\b`,
    String.raw`\bCU(?:BLAS|DNN|SOLVER|SPARSE|FFT)_STATUS_ALLOC_FAILED\b`,
    String.raw`\bCUDA failure 2: out of memory`,
    String.raw`ResourceExhaustedError[^]*\bdevice:GPU`,
  ].join('|'),
);

function megabytes(bytes: number): number {
  return Math.round(bytes / 1_048_576);
}

export function crashInInit(exit: HostExit, stderr: string): BatchError {
  const said = lastLine(stderr);
  const message = `the scoring host ${describeExit(exit)} before init() was done`;
  return new BatchError('SCORER_CRASHED', said === '' ? message : `${message}; its last line was: ${said}`, {
    detail: stderr,
  });
}

export function timeoutInInit(timeoutMs: number, stderr: string): BatchError {
  return new BatchError(
    'SCORER_INIT_FAILED',
    `init() was not done after ${seconds(timeoutMs)}, and its scoring host was killed`,
    { detail: stderr },
  );
}

/** The program of a host could not be started at all. */
export function notStarted(error: unknown, wanted: { readonly command: string; readonly cwd: string }): BatchError {
  const code = errnoOf(error);
  if (!existsSync(wanted.cwd)) {
    return new BatchError('INTERNAL', `the working directory ${wanted.cwd} of a scoring host does not exist`, {
      cause: error,
    });
  }
  if (code === 'ENOENT' || code === 'EACCES') {
    const what = code === 'ENOENT' ? 'does not exist' : 'cannot be executed';
    return new BatchError(
      'PYTHON_NOT_FOUND',
      `the interpreter ${wanted.command} of the scoring host ${what}; name another one with --python`,
      { cause: error },
    );
  }
  return new BatchError('INTERNAL', `the scoring host ${wanted.command} cannot be started: ${reasonOf(error)}`, {
    cause: error,
  });
}

export function tooManyFiles(files: number, bytes: number): BatchError {
  return new BatchError(
    'SCORER_FAILED',
    `the names of a mini-batch of ${files} files take ${bytes} bytes, and a message to the scoring host may have ` +
      `${limits.framePayloadBytesMax}; use a smaller mini_batch_size`,
  );
}

export function unexpectedFrame(type: number): BatchError {
  return new BatchError('FRAME_CORRUPT', `the scoring host sent a frame of type ${type} that nothing had asked for`);
}

export function wrongSequence(found: number, wanted: number): BatchError {
  return new BatchError('FRAME_CORRUPT', `the scoring host answered mini-batch ${found}; it was asked for ${wanted}`);
}

export function wrongBytes(said: number, arrived: number): BatchError {
  return new BatchError('FRAME_CORRUPT', `the scoring host says it sent ${said} bytes of rows, and ${arrived} arrived`);
}

function openFile(lost: LostHost): string {
  return lost.fileName === null ? 'which file it had open is not known' : `the file open last was ${lost.fileName}`;
}

function seconds(ms: number): string {
  return `${ms / 1_000} s`;
}
