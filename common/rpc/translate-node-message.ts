/** What a worker node says, to and from the wire. */
import { BatchError, type Failure } from '../core/batch-error.ts';
import type {
  AttemptFailureReport,
  EnrollRequest,
  GpuReading,
  Heartbeat,
  HeldLease,
  HostFailureReport,
  JoinReply,
  JoinRequest,
  NodeMessage,
  ResultReport,
} from '../core/cluster-messages.ts';
import { incarnation, jobName, nodeName } from '../core/ids.ts';
import { limits } from '../core/limits.ts';
import type { FileFailure, ResultSchema, ResultSummary } from '../core/result.ts';
import type { ShadowOutcome } from '../core/shadow.ts';
import { binarySchema, prologueBytes } from '../format/prologue.ts';
import type {
  AttemptFailure as AttemptFailureWire,
  AttemptFailure__Output,
} from './generated/batchmill/v1/AttemptFailure.ts';
import type { EnrollRequest__Output } from './generated/batchmill/v1/EnrollRequest.ts';
import type { FileFailure as FileFailureWire, FileFailure__Output } from './generated/batchmill/v1/FileFailure.ts';
import type { GpuReading as GpuReadingWire, GpuReading__Output } from './generated/batchmill/v1/GpuReading.ts';
import type { Heartbeat as HeartbeatWire, Heartbeat__Output } from './generated/batchmill/v1/Heartbeat.ts';
import type { HeldLease as HeldLeaseWire, HeldLease__Output } from './generated/batchmill/v1/HeldLease.ts';
import type { HostFailure__Output } from './generated/batchmill/v1/HostFailure.ts';
import type { JoinReply as JoinReplyWire, JoinReply__Output } from './generated/batchmill/v1/JoinReply.ts';
import type { JoinRequest as JoinRequestWire, JoinRequest__Output } from './generated/batchmill/v1/JoinRequest.ts';
import type { NodeMessage as NodeMessageWire, NodeMessage__Output } from './generated/batchmill/v1/NodeMessage.ts';
import type { Result as ResultWire, Result__Output } from './generated/batchmill/v1/Result.ts';
import type {
  ShadowOutcome as ShadowOutcomeWire,
  ShadowOutcome__Output,
} from './generated/batchmill/v1/ShadowOutcome.ts';
import type { Schema as SchemaWire, Schema__Output } from './generated/batchmill/v1/Schema.ts';
import { readDiagnosis, writeDiagnosis } from './translate-diagnosis.ts';
import { readFailure, readOneOf, readToken, writeFailure, writeToken } from './translate.ts';

const attributions = ['file', 'positional', 'range'] as const;

export function readEnrollRequest(wire: EnrollRequest__Output): EnrollRequest {
  return { ...wire, name: nodeName(wire.name) };
}

export function writeJoinRequest(request: JoinRequest): JoinRequestWire {
  return { ...request, labels: { ...request.labels }, leavesInMs: request.leavesInMs ?? 0 };
}

export function readJoinRequest(wire: JoinRequest__Output): JoinRequest {
  const labels = { ...wire.labels };
  const leavesInMs = wire.leavesInMs === 0 ? null : wire.leavesInMs;
  return { ...wire, name: nodeName(wire.name), incarnation: incarnation(wire.incarnation), labels, leavesInMs };
}

export function writeJoinReply(reply: JoinReply): JoinReplyWire {
  return { ...reply };
}

export function readJoinReply(wire: JoinReply__Output): JoinReply {
  return { ...wire };
}

/** `inlineOf`: the bytes of a result that is not uploaded. */
export function writeNodeMessage(
  message: NodeMessage,
  inlineOf: (result: ResultReport) => Uint8Array,
): NodeMessageWire {
  return {
    hello: message.hello && { held: message.hello.map(writeHeldLease) },
    heartbeat: message.heartbeat && writeHeartbeat(message.heartbeat),
    want: message.want,
    started: message.started.map(writeToken),
    results: message.results.map((result) => writeResult(result, inlineOf)),
    failures: message.failures.map(writeAttemptFailure),
    hostFailures: message.hostFailures.map(({ job, failure }) => ({ job, ...writeFailure(failure) })),
    preparations: message.preparations.map(({ job, text }) => ({ job, text })),
    diagnoses: message.diagnoses.map(writeDiagnosis),
    returned: message.returned.map(writeToken),
    leaving: message.isLeaving,
  };
}

/** A message and, by place in `results`, the bytes of those that came inline; empty for uploaded ones. */
export interface ReadNodeMessage {
  readonly message: NodeMessage;
  /** Views of the decoded message, which they keep alive. */
  readonly inline: readonly Uint8Array[];
}

/** @throws REQUEST_INVALID, PROTOCOL_MISMATCH */
export function readNodeMessage(wire: NodeMessage__Output): ReadNodeMessage {
  const message: NodeMessage = {
    hello: wire.hello && wire.hello.held.map(readHeldLease),
    heartbeat: wire.heartbeat && readHeartbeat(wire.heartbeat),
    want: wire.want,
    started: wire.started.map(readToken),
    results: wire.results.map(readResult),
    failures: wire.failures.map(readAttemptFailure),
    hostFailures: wire.hostFailures.map(readHostFailure),
    preparations: wire.preparations.map(({ job, text }) => ({ job: jobName(job), text })),
    diagnoses: wire.diagnoses.map(readDiagnosis),
    returned: wire.returned.map(readToken),
    isLeaving: wire.leaving,
  };
  return { message, inline: wire.results.map((result) => result.inline) };
}

function writeHeldLease(lease: HeldLease): HeldLeaseWire {
  return { ...lease, token: writeToken(lease.token) };
}

function readHeldLease(wire: HeldLease__Output): HeldLease {
  return { token: readToken(wire.token), job: jobName(wire.job), first: wire.first, count: wire.count };
}

function readHeartbeat(wire: Heartbeat__Output): Heartbeat {
  const { gpus, ...rest } = wire;
  const held = rest.held.map(readToken);
  return { ...rest, held, ...(gpus.length > 0 && { gpus: gpus.slice(0, limits.gpusTold).map(readGpu) }) };
}

function writeHeartbeat({ held, gpus = [], ...rest }: Heartbeat): HeartbeatWire {
  return { ...rest, held: held.map(writeToken), gpus: gpus.slice(0, limits.gpusTold).map(writeGpu) };
}

function writeGpu({ totalBytes, busyPercent, ...rest }: GpuReading): GpuReadingWire {
  return { ...rest, totalBytes: totalBytes ?? 0, busyPercent: busyPercent ?? -1 };
}

/** Cut to what such a thing can be: names end as labels of metrics, figures in answers that have a form. */
function readGpu({ name, model, usedBytes, totalBytes, busyPercent }: GpuReading__Output): GpuReading {
  return {
    usedBytes: Math.min(usedBytes, Number.MAX_SAFE_INTEGER),
    name: name.slice(0, limits.gpuNameCharsMax),
    model: model.slice(0, limits.gpuNameCharsMax),
    totalBytes: totalBytes === 0 ? null : Math.min(totalBytes, Number.MAX_SAFE_INTEGER),
    busyPercent: busyPercent < 0 ? null : Math.min(busyPercent, 100),
  };
}

function writeResult(result: ResultReport, inlineOf: (result: ResultReport) => Uint8Array): ResultWire {
  const { summary } = result;
  return {
    token: writeToken(result.token),
    bytes: result.bytes,
    crc32: result.crc32,
    customBytes: result.customBytes,
    customCrc32: result.customCrc32,
    rows: summary.rows,
    attribution: summary.attribution,
    fileRows: summary.fileRows === null ? [] : [...summary.fileRows],
    failed: writeFileFailures(summary.failed),
    schema: summary.schema && writeSchema(summary.schema),
    runSeconds: summary.runSeconds,
    peakMemoryBytes: summary.peakMemoryBytes ?? 0,
    inline: result.isUploaded ? new Uint8Array(0) : inlineOf(result),
    uploaded: result.isUploaded,
    shadow: result.shadow ? writeShadow(result.shadow) : null,
  };
}

/** The texts of all failed files of a mini-batch share one budget: a hundred thousand of them must fit a message. */
export function writeFileFailures(failed: readonly FileFailure[]): FileFailureWire[] {
  const share = Math.floor(limits.fileFailuresCharsMax / Math.max(1, failed.length));
  const charsMax = Math.min(limits.failureMessageCharsMax, share);
  return failed.map(({ index, code, message }) => ({ index, code, message: message.slice(0, charsMax) }));
}

function readResult(wire: Result__Output): ResultReport {
  return {
    token: readToken(wire.token),
    summary: readSummary(wire),
    bytes: wire.bytes,
    crc32: wire.crc32,
    customBytes: wire.customBytes,
    customCrc32: wire.customCrc32,
    ...(wire.shadow === null ? {} : { shadow: readShadow(wire.shadow) }),
    isUploaded: wire.uploaded,
  };
}

function readSummary(wire: Result__Output): ResultSummary {
  const attribution = readOneOf(attributions, wire.attribution, 'the attribution of a result');
  return {
    rows: wire.rows,
    attribution,
    fileRows: attribution === 'range' ? null : wire.fileRows,
    failed: wire.failed.map(readFileFailure),
    schema: wire.schema && readSchema(wire.schema),
    runSeconds: wire.runSeconds,
    peakMemoryBytes: wire.peakMemoryBytes === 0 ? null : wire.peakMemoryBytes,
  };
}

function writeShadow({ counts, failure, runSeconds, columns }: ShadowOutcome): ShadowOutcomeWire {
  return {
    ...counts,
    code: failure?.code ?? '',
    message: (failure?.message ?? '').slice(0, limits.failureMessageCharsMax),
    runSeconds,
    defaultColumns: [...(columns?.default ?? [])],
    shadowColumns: [...(columns?.shadow ?? [])],
  };
}

function readShadow(wire: ShadowOutcome__Output): ShadowOutcome {
  const { code, message, runSeconds, defaultColumns, shadowColumns, ...counts } = wire;
  const isOther = defaultColumns.length + shadowColumns.length > 0;
  return {
    counts,
    failure: code === '' ? null : pick(readFailure({ code, message })),
    runSeconds,
    columns: isOther ? { default: defaultColumns, shadow: shadowColumns } : null,
  };
}

function pick({ code, message }: Failure): NonNullable<ShadowOutcome['failure']> {
  return { code, message };
}

function readFileFailure(wire: FileFailure__Output): FileFailure {
  const { code, message } = readFailure(wire);
  return { index: wire.index, code, message };
}

function writeSchema(schema: ResultSchema): SchemaWire {
  const columns = [...schema.columns];
  const features = [...(schema.features ?? [])];
  if (schema.prologueForm !== 'base64') return { columns, features, prologue: schema.prologue };
  return { columns, features, prologueBytes: prologueBytes(schema) };
}

function readSchema({ columns, prologue, prologueBytes: bytes, features: told }: Schema__Output): ResultSchema {
  const features = told.length === 0 ? {} : { features: told };
  if (bytes.length === 0) return { columns, prologue, ...features };
  if (prologue === '') return { ...binarySchema(columns, bytes), ...features };
  throw new BatchError('REQUEST_INVALID', 'a schema has a prologue of text and one of bytes; it has one of them');
}

function writeAttemptFailure(report: AttemptFailureReport): AttemptFailureWire {
  const { token, failure, fileIndex, circumstances } = report;
  return {
    token: writeToken(token),
    ...writeFailure(failure),
    fileIndex,
    runSeconds: circumstances.runSeconds,
    peakMemoryBytes: circumstances.peakMemoryBytes ?? 0,
    hostExit: circumstances.hostExit ?? '',
  };
}

function readAttemptFailure(wire: AttemptFailure__Output): AttemptFailureReport {
  return {
    token: readToken(wire.token),
    failure: readFailure(wire),
    fileIndex: wire.fileIndex,
    circumstances: {
      runSeconds: wire.runSeconds,
      peakMemoryBytes: wire.peakMemoryBytes === 0 ? null : wire.peakMemoryBytes,
      hostExit: wire.hostExit === '' ? null : wire.hostExit,
    },
  };
}

function readHostFailure(wire: HostFailure__Output): HostFailureReport {
  return { job: jobName(wire.job), failure: readFailure(wire) };
}
