/** What `doctor` says of the coordinator and its worker nodes. Pure: from facts to lines. */
import type { Failure } from '../../common/core/batch-error.ts';
import type { Diagnosis, Room, SeenPath } from '../../common/core/diagnosis.ts';
import { limits } from '../../common/core/limits.ts';
import {
  about,
  certificateFinding,
  clockFinding,
  clockOffset,
  fail,
  ok,
  ownPathFinding,
  pathFinding,
  releaseFinding,
  reserveBytesOf,
  roomFinding,
  runtimeFinding,
  secondsText,
  warn,
  type DoctorLine,
  type Finding,
} from './doctor-checks.ts';

/** What became of the question to a worker node. */
export type NodeAnswer =
  | {
      readonly kind: 'answered';
      readonly diagnosis: Diagnosis;
      /** By the coordinator's clock. */
      readonly askedMs: number;
      readonly heardMs: number;
    }
  /** Nothing in {@link limits.diagnosisMsMax}. */
  | { readonly kind: 'silent' }
  /** It knows no such question. */
  | { readonly kind: 'older'; readonly release: string }
  /** It is not connected. */
  | { readonly kind: 'away' };

export interface Certificate {
  readonly endsMs: number;
  readonly lifeMs: number;
}

export interface NodeFacts {
  readonly name: string;
  /** Jobs of which it gets no more work. */
  readonly quarantines: number;
  /** The newest that is not revoked; null: there is none, or none is needed. */
  readonly certificate: Certificate | null;
  readonly answer: NodeAnswer;
}

export interface CoordinatorFacts {
  readonly nowMs: number;
  readonly release: string;
  /** Version of Node, and of `engines`. */
  readonly runtime: string;
  readonly runtimeWanted: string;
  readonly stateDir: string;
  readonly room: Room | null;
  /** Why nothing is handed out: no room for the journal, or little room on the disk. */
  readonly stall: Failure | null;
  /** The last write with its sync; null: there was none. */
  readonly journal: { readonly agoMs: number; readonly seconds: number } | null;
  /** The longest that the event loop was late, while it was watched. */
  readonly loopLateMs: number;
  /** Where it listens. */
  readonly doors: { readonly nodes: string; readonly http: string };
  /** Of the server; null: it serves in the clear. */
  readonly certificate: Certificate | null;
  /** Absolute, each with what the coordinator sees there. */
  readonly paths: readonly { readonly path: string; readonly seen: SeenPath }[];
}

/** The coordinator first, then its worker nodes as they come. */
export function doctorLines(coordinator: CoordinatorFacts, nodes: readonly NodeFacts[]): readonly DoctorLine[] {
  const none = warn(
    'worker nodes',
    'none is known',
    'start some: `batchmill worker join`, by the line of `node token`',
  );
  return [
    ...about('coordinator', [...coordinatorFindings(coordinator), ...(nodes.length === 0 ? [none] : [])]),
    ...nodes.flatMap((node) => about(node.name, nodeFindings(node, coordinator))),
  ];
}

function coordinatorFindings(facts: CoordinatorFacts): readonly Finding[] {
  const { release, runtime, runtimeWanted, stateDir, room, certificate, nowMs, paths, doors } = facts;
  const mend = 'restart the coordinator, which makes a new one';
  return [
    ok('release', release),
    runtimeFinding(runtime, runtimeWanted),
    ok('ports', `worker nodes at ${doors.nodes}, clients at ${doors.http}`),
    roomFinding(stateDir, room, room ? reserveBytesOf(room) : 0, 'make room there; `job prune` forgets old jobs'),
    journalFinding(facts),
    loopFinding(facts.loopLateMs),
    ...(certificate ? [certificateFinding(certificate.endsMs, nowMs, certificate.lifeMs, mend)] : []),
    ...paths.map(({ path, seen }) => ownPathFinding(path, seen)),
  ];
}

const syncWarnSeconds = 1;

function stallMend(code: string): string {
  if (code === 'JOURNAL_STREAM_STALLED')
    return 'look after the NATS servers: more than half of them must run and see each other';
  return 'make room on the disk of the state directory';
}

function journalFinding({ journal, stall }: CoordinatorFacts): Finding {
  if (stall) return fail('journal', stall.message, stallMend(stall.code));
  if (journal === null) return ok('journal', 'nothing was written since the start');
  const found = `last write ${secondsText(journal.agoMs)} ago, in ${secondsText(journal.seconds * 1_000)}`;
  if (journal.seconds < syncWarnSeconds) return ok('journal', found);
  return warn('journal', found, 'move the state directory to a faster disk; every commit waits for it');
}

function loopFinding(lateMs: number): Finding {
  const found = `at most ${secondsText(lateMs)} late`;
  if (lateMs < limits.stallMsMin) return ok('event loop', found);
  return warn('event loop', found, 'leave the coordinator a core of its own; leases are not lost by it');
}

function nodeFindings(node: NodeFacts, coordinator: CoordinatorFacts): readonly Finding[] {
  const { certificate, quarantines } = node;
  const mend = 'join again with a new token: `batchmill node token`';
  return [
    ...answerFindings(node.answer, coordinator),
    ...(quarantines === 0
      ? []
      : [warn('quarantine', `${quarantines} jobs give it no work`, '`node list` says why, `node release` ends it')]),
    ...(certificate ? [certificateFinding(certificate.endsMs, coordinator.nowMs, certificate.lifeMs, mend)] : []),
  ];
}

function answerFindings(answer: NodeAnswer, coordinator: CoordinatorFacts): readonly Finding[] {
  switch (answer.kind) {
    case 'away':
      return [fail('connection', 'not connected', 'see that `worker join` runs there and reaches the coordinator')];
    case 'silent': {
      const found = `connected, but no answer in ${secondsText(limits.diagnosisMsMax)}`;
      return [fail('connection', found, 'see whether the machine hangs, and what its log says')];
    }
    case 'older':
      return [
        releaseFinding(answer.release, coordinator.release),
        warn('connection', 'connected, but its release answers no questions of doctor', 'run a newer release there'),
      ];
    case 'answered':
      return diagnosisFindings(answer.diagnosis, coordinator, answer);
  }
}

function diagnosisFindings(
  diagnosis: Diagnosis,
  { release, runtimeWanted, paths }: CoordinatorFacts,
  times: { readonly askedMs: number; readonly heardMs: number },
): readonly Finding[] {
  const { runtime, scratchDir, room } = diagnosis;
  const offset = clockOffset({ ...diagnosis, ...times });
  const mend = 'make room there, or join with another --scratch-dir';
  return [
    ok('connection', `answered in ${secondsText(times.heardMs - times.askedMs)}`),
    releaseFinding(diagnosis.release, release),
    runtimeFinding(runtime, runtimeWanted),
    clockFinding(offset),
    roomFinding(scratchDir, room, limits.diskReserveBytes, mend),
    pythonFinding(diagnosis),
    gpuFinding(diagnosis),
    ...paths.map(({ path, seen }, place) =>
      pathFinding(path, diagnosis.paths[place] ?? { kind: 'unseen', problem: 'it was not looked at' }, seen),
    ),
  ];
}

function pythonFinding({ python, isPythonNamed }: Diagnosis): Finding {
  if (python.path !== null) return ok('python', `${python.version} at ${python.path}`);
  if (isPythonNamed) return fail('python', python.problem, 'join with another --python');
  return warn('python', python.problem, 'install Python 3.8 or later for Python scripts; ONNX models need none');
}

function gpuFinding({ gpus, gpuProblem }: Diagnosis): Finding {
  if (gpuProblem !== null)
    return warn('gpu', gpuProblem, 'see that `nvidia-smi -L` lists them, then start the node anew');
  return ok('gpu', gpus === 0 ? 'none' : String(gpus));
}
