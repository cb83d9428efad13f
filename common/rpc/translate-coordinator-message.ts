/** What the coordinator says, to and from the wire. */
import { BatchError } from '../core/batch-error.ts';
import type { AdoptedLease, CoordinatorMessage, Grant, JobSpec, RefusalReport } from '../core/cluster-messages.ts';
import { outputFormats, type Artifact, type Scorer } from '../core/deployment.ts';
import { digest, jobName } from '../core/ids.ts';
import type { Adoption__Output } from './generated/batchmill/v1/Adoption.ts';
import type { Artifact__Output } from './generated/batchmill/v1/Artifact.ts';
import type {
  CoordinatorMessage as CoordinatorMessageWire,
  CoordinatorMessage__Output,
} from './generated/batchmill/v1/CoordinatorMessage.ts';
import type { Grant as GrantWire, Grant__Output } from './generated/batchmill/v1/Grant.ts';
import type { Job as JobWire, Job__Output } from './generated/batchmill/v1/Job.ts';
import type { JobSettings__Output } from './generated/batchmill/v1/JobSettings.ts';
import type { Refusal as RefusalWire, Refusal__Output } from './generated/batchmill/v1/Refusal.ts';
import type { Scorer as ScorerWire, Scorer__Output } from './generated/batchmill/v1/Scorer.ts';
import { readFailure, readOneOf, readToken, writeFailure, writeToken } from './translate.ts';

export function writeCoordinatorMessage(message: CoordinatorMessage): CoordinatorMessageWire {
  return {
    jobs: message.jobs.map(writeJob),
    grants: message.grants.map(writeGrant),
    committed: message.committed.map(writeToken),
    refused: message.refused.map(writeRefusal),
    revoked: message.revoked.map(writeToken),
    endedJobs: [...message.endedJobs],
    heartbeatAck: message.heartbeatAck,
    drain: message.isDrain,
    adoption: message.adoption && {
      oldTokens: message.adoption.map((adopted) => writeToken(adopted.oldToken)),
      newTokens: message.adoption.map((adopted) => writeToken(adopted.newToken)),
    },
  };
}

/** @throws REQUEST_INVALID, PROTOCOL_MISMATCH */
export function readCoordinatorMessage(wire: CoordinatorMessage__Output): CoordinatorMessage {
  return {
    jobs: wire.jobs.map(readJob),
    grants: wire.grants.map(readGrant),
    committed: wire.committed.map(readToken),
    refused: wire.refused.map(readRefusal),
    revoked: wire.revoked.map(readToken),
    endedJobs: wire.endedJobs.map(jobName),
    heartbeatAck: wire.heartbeatAck,
    isDrain: wire.drain,
    adoption: wire.adoption && readAdoption(wire.adoption),
  };
}

function writeGrant(grant: Grant): GrantWire {
  return { ...grant, token: writeToken(grant.token), files: [...grant.files] };
}

function readGrant(wire: Grant__Output): Grant {
  return { ...wire, token: readToken(wire.token), job: jobName(wire.job) };
}

export function writeRefusal(refusal: RefusalReport): RefusalWire {
  const { code, message } = writeFailure(refusal.failure);
  return { token: writeToken(refusal.token), code, message };
}

export function readRefusal(wire: Refusal__Output): RefusalReport {
  return { token: readToken(wire.token), failure: readFailure({ code: wire.code, message: wire.message }) };
}

function readAdoption(wire: Adoption__Output): AdoptedLease[] {
  if (wire.oldTokens.length !== wire.newTokens.length) {
    throw new BatchError(
      'REQUEST_INVALID',
      `an adoption pairs old and new tokens, but has ${wire.oldTokens.length} and ${wire.newTokens.length}`,
    );
  }
  return wire.oldTokens.map((old, place) => ({
    oldToken: readToken(old),
    newToken: readToken(wire.newTokens[place] ?? null),
  }));
}

export function writeJob(job: JobSpec): JobWire {
  const { concurrencyMax, environmentVariables, ...settings } = job.settings;
  return {
    name: job.name,
    deployment: job.deployment,
    scorer: writeScorer(job.scorer),
    model: job.model,
    code: job.code,
    settings: { ...settings, environmentVariables: { ...environmentVariables }, concurrencyMax: concurrencyMax ?? 0 },
    inputRoot: job.inputRoot,
  };
}

export function readJob(wire: Job__Output): JobSpec {
  const { scorer, settings } = wire;
  if (!scorer || !settings)
    throw new BatchError('REQUEST_INVALID', `job ${wire.name} comes without scorer or settings`);
  return {
    name: jobName(wire.name),
    deployment: wire.deployment,
    scorer: readScorer(scorer),
    model: wire.model && readArtifact(wire.model),
    code: wire.code && readArtifact(wire.code),
    settings: readSettings(settings),
    inputRoot: wire.inputRoot,
  };
}

function readSettings(wire: JobSettings__Output): JobSpec['settings'] {
  return {
    timeoutMs: wire.timeoutMs,
    outputFormat: readOneOf(outputFormats, wire.outputFormat, 'the output format of a job'),
    outputAction: readOneOf(['append_row', 'summary_only'], wire.outputAction, 'the output action of a job'),
    loggingLevel: readOneOf(['debug', 'info', 'warning'], wire.loggingLevel, 'the logging level of a job'),
    environmentVariables: wire.environmentVariables,
    concurrencyMax: wire.concurrencyMax === 0 ? null : wire.concurrencyMax,
  };
}

function writeScorer(scorer: Scorer): ScorerWire {
  return { ...scorer };
}

function readScorer(wire: Scorer__Output): Scorer {
  const kind = readOneOf(['onnx', 'python', 'node'], wire.kind, 'the scorer of a job');
  return kind === 'onnx' ? { kind, scale: wire.scale } : { kind, script: wire.script };
}

function readArtifact(wire: Artifact__Output): Artifact {
  return {
    kind: readOneOf(['file', 'folder'], wire.kind, 'the kind of an artifact'),
    name: wire.name,
    digest: digest(wire.digest),
    bytes: wire.bytes,
  };
}
