/** What `doctor` asks and hears, to and from the wire. Both are bounded on both sides. */
import { BatchError } from '../core/batch-error.ts';
import type { Diagnose, Diagnosis, SeenPath } from '../core/diagnosis.ts';
import { limits } from '../core/limits.ts';
import type { Diagnose as DiagnoseWire, Diagnose__Output } from './generated/batchmill/v1/Diagnose.ts';
import type { Diagnosis as DiagnosisWire, Diagnosis__Output } from './generated/batchmill/v1/Diagnosis.ts';
import type { SeenPath as SeenPathWire, SeenPath__Output } from './generated/batchmill/v1/SeenPath.ts';

export function writeDiagnose({ id, paths }: Diagnose): DiagnoseWire {
  return { id, paths: [...paths] };
}

/** @throws REQUEST_INVALID */
export function readDiagnose({ id, paths }: Diagnose__Output): Diagnose {
  const { diagnosisPathsMax: pathsMax, diagnosisPathCharsMax: charsMax } = limits;
  if (paths.length <= pathsMax && paths.every((path) => path.length <= charsMax)) return { id, paths };
  throw new BatchError('REQUEST_INVALID', `a diagnosis is of at most ${pathsMax} paths of ${charsMax} characters`);
}

export function writeDiagnosis(diagnosis: Diagnosis): DiagnosisWire {
  const { room, gpuProblem, python, isPythonNamed, paths, ...rest } = diagnosis;
  return {
    ...rest,
    scratchDir: rest.scratchDir.slice(0, limits.diagnosisTextCharsMax),
    freeBytes: room?.freeBytes ?? 0,
    totalBytes: room?.totalBytes ?? 0,
    gpuProblem: short(gpuProblem ?? ''),
    python: short(python.path ?? ''),
    pythonText: short(python.path === null ? python.problem : python.version),
    pythonNamed: isPythonNamed,
    paths: paths.map(writeSeen),
  };
}

/** @throws REQUEST_INVALID for what is larger than any release sends */
export function readDiagnosis(wire: Diagnosis__Output): Diagnosis {
  const { freeBytes, totalBytes, gpuProblem, python, pythonText, pythonNamed, paths, ...rest } = wire;
  const texts = [rest.release, rest.runtime, rest.scratchDir, gpuProblem, python, pythonText];
  const seen = paths.flatMap(({ kind, identity, names, problem }) => [kind, identity, problem, ...names]);
  const chars = [...texts, ...seen].reduce((sum, text) => sum + text.length, 0);
  const isLarge = paths.some(({ names }) => names.length > limits.diagnosisNamesMax);
  if (chars > limits.diagnosisCharsMax || paths.length > limits.diagnosisPathsMax || isLarge) {
    throw new BatchError(
      'REQUEST_INVALID',
      `a diagnosis has at most ${limits.diagnosisCharsMax} characters and ${limits.diagnosisPathsMax} paths; ` +
        `found ${chars} and ${paths.length}`,
    );
  }
  return {
    ...rest,
    room: totalBytes === 0 ? null : { freeBytes, totalBytes },
    gpuProblem: gpuProblem === '' ? null : gpuProblem,
    python: python === '' ? { path: null, problem: pythonText } : { path: python, version: pythonText },
    isPythonNamed: pythonNamed,
    paths: paths.map(readSeen),
  };
}

function writeSeen(seen: SeenPath): SeenPathWire {
  switch (seen.kind) {
    case 'file':
      return seen;
    case 'folder':
      return { kind: 'folder', entries: seen.entries, names: [...seen.names], more: seen.hasMore };
    case 'unseen':
      return { kind: 'unseen', problem: short(seen.problem) };
    case 'missing':
    case 'other':
      return { kind: seen.kind };
  }
}

/** A kind that only a newer release knows is something else. */
function readSeen({ kind, identity, entries, names, more, problem }: SeenPath__Output): SeenPath {
  switch (kind) {
    case 'missing':
      return { kind };
    case 'file':
      return { kind, identity };
    case 'folder':
      return { kind, entries, names, hasMore: more };
    case 'unseen':
      return { kind, problem };
    default:
      return { kind: 'other' };
  }
}

function short(text: string): string {
  return text.slice(0, limits.diagnosisTextCharsMax);
}
