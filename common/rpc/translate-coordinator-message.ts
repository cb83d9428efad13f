/** What the coordinator says, to and from the wire. */
import { BatchError } from '../core/batch-error.ts';
import type {
  AdoptedLease,
  CoordinatorMessage,
  Grant,
  JobSpec,
  RefusalReport,
  ShadowSpec,
} from '../core/cluster-messages.ts';
import {
  outputFormats,
  type Artifact,
  type CondaSpec,
  type EncodeScorer,
  type EnvironmentSpec,
  type Scorer,
} from '../core/deployment.ts';
import { digest, jobName } from '../core/ids.ts';
import type { InputFile } from '../core/input.ts';
import { defaultOnnxSettings, type OnnxSettings } from '../core/onnx-settings.ts';
import { defaultOutputForm, type OutputForm } from '../core/output-form.ts';
import type { Adoption__Output } from './generated/batchmill/v1/Adoption.ts';
import type { Artifact__Output } from './generated/batchmill/v1/Artifact.ts';
import type {
  CoordinatorMessage as CoordinatorMessageWire,
  CoordinatorMessage__Output,
} from './generated/batchmill/v1/CoordinatorMessage.ts';
import type { Environment as EnvironmentWire, Environment__Output } from './generated/batchmill/v1/Environment.ts';
import type { Grant as GrantWire, Grant__Output } from './generated/batchmill/v1/Grant.ts';
import type { InputFile as InputFileWire, InputFile__Output } from './generated/batchmill/v1/InputFile.ts';
import type { Job as JobWire, Job__Output } from './generated/batchmill/v1/Job.ts';
import type { JobSettings__Output } from './generated/batchmill/v1/JobSettings.ts';
import type { Refusal as RefusalWire, Refusal__Output } from './generated/batchmill/v1/Refusal.ts';
import type { Scorer as ScorerWire, Scorer__Output } from './generated/batchmill/v1/Scorer.ts';
import type { Shadow as ShadowWire, Shadow__Output } from './generated/batchmill/v1/Shadow.ts';
import { readDiagnose, writeDiagnose } from './translate-diagnosis.ts';
import { readFailure, readOneOf, readToken, writeFailure, writeToken } from './translate.ts';

export function writeCoordinatorMessage(message: CoordinatorMessage): CoordinatorMessageWire {
  return {
    jobs: message.jobs.map(writeJob),
    grants: message.grants.map(writeGrant),
    committed: message.committed.map(writeToken),
    refused: message.refused.map(writeRefusal),
    revoked: message.revoked.map(writeToken),
    recalled: message.recalled.map(writeToken),
    endedJobs: [...message.endedJobs],
    drainedJobs: [...message.drainedJobs],
    diagnose: message.diagnose.map(writeDiagnose),
    heartbeatAck: message.heartbeatAck,
    drain: message.isDrain,
    drainMs: message.drainMs ?? 0,
    handoverMs: message.handoverMs ?? 0,
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
    recalled: wire.recalled.map(readToken),
    endedJobs: wire.endedJobs.map(jobName),
    drainedJobs: wire.drainedJobs.map(jobName),
    diagnose: wire.diagnose.map(readDiagnose),
    heartbeatAck: wire.heartbeatAck,
    isDrain: wire.drain,
    ...(wire.drainMs === 0 ? {} : { drainMs: wire.drainMs }),
    ...(wire.handoverMs === 0 ? {} : { handoverMs: wire.handoverMs }),
    adoption: wire.adoption && readAdoption(wire.adoption),
  };
}

/** Field by field, as what follows, too: there is one for each mini-batch, and copying the rest of an object costs several times as much. */
function writeGrant({ token, job, first, files, attempt, isAlone, columns = [] }: Grant): GrantWire {
  const inputs = files.map(writeInput);
  return { token: writeToken(token), job, first, files: inputs, attempt, alone: isAlone, columns: [...columns] };
}

function readGrant(wire: Grant__Output): Grant {
  const { token, job, first, files, attempt, alone, columns } = wire;
  const told = columns.length > 0 ? { columns } : {};
  const inputs = files.map(readInput);
  return { token: readToken(token), job: jobName(job), first, files: inputs, attempt, isAlone: alone, ...told };
}

function writeInput({ path, sizeBytes, identity, part }: InputFile): InputFileWire {
  if (part === undefined) return { path, sizeBytes, identity };
  return { path, sizeBytes, identity: '', part: { ...part, identity } };
}

function readInput({ path, sizeBytes, identity, part }: InputFile__Output): InputFile {
  if (part === null) return { path, sizeBytes, identity };
  const { identity: own, ...range } = part;
  return { path, sizeBytes, identity: own, part: range };
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
  return {
    name: job.name,
    ...writeScored(job),
    inputRoot: job.inputRoot,
    outputDir: job.outputDir ?? '',
    attemptsLocation: job.attemptsLocation ?? '',
    owner: job.owner,
    shadow: job.shadow ? { ...writeScored(job.shadow), tolerance: job.shadow.tolerance } : null,
  };
}

/** What a job and its shadow both have. */
type ScoredWith = Omit<ShadowSpec, 'tolerance'>;

function writeScored(of: ScoredWith): Omit<ShadowWire, 'tolerance'> {
  const { concurrencyMax, environmentVariables, secrets, memoryBytesMax, outputFileName, outputForm, ...settings } =
    of.settings;
  return {
    deployment: of.deployment,
    scorer: writeScorer(of.scorer),
    model: of.model,
    code: of.code,
    environment: writeEnvironment(of.environment),
    settings: {
      ...settings,
      environmentVariables: { ...environmentVariables },
      secrets: { ...secrets },
      concurrencyMax: concurrencyMax ?? 0,
      memoryBytesMax: memoryBytesMax ?? 0,
      outputFileName: outputFileName ?? '',
      outputFormJson: outputForm === undefined ? '' : JSON.stringify(outputForm),
    },
  };
}

export function readJob(wire: Job__Output): JobSpec {
  const { shadow } = wire;
  return {
    name: jobName(wire.name),
    ...readScored(wire, wire.name),
    inputRoot: wire.inputRoot,
    outputDir: wire.outputDir === '' ? null : wire.outputDir,
    attemptsLocation: wire.attemptsLocation === '' ? null : wire.attemptsLocation,
    owner: wire.owner,
    ...(shadow === null ? {} : { shadow: { ...readScored(shadow, wire.name), tolerance: shadow.tolerance } }),
  };
}

/** `job`: its name. */
function readScored(wire: Omit<Shadow__Output, 'tolerance'>, job: string): ScoredWith {
  const { scorer, settings, environment } = wire;
  if (!scorer || !settings || !environment)
    throw new BatchError('REQUEST_INVALID', `job ${job} comes without scorer, environment or settings`);
  return {
    deployment: wire.deployment,
    scorer: readScorer(scorer),
    model: wire.model && readArtifact(wire.model),
    code: wire.code && readArtifact(wire.code),
    environment: readEnvironment(environment),
    settings: readSettings(settings),
  };
}

function readSettings(wire: JobSettings__Output): JobSpec['settings'] {
  return {
    timeoutMs: wire.timeoutMs,
    outputFormat: readOneOf(outputFormats, wire.outputFormat, 'the output format of a job'),
    ...readOutputForm(wire.outputFormJson),
    outputAction: readOneOf(['append_row', 'summary_only'], wire.outputAction, 'the output action of a job'),
    loggingLevel: readOneOf(['debug', 'info', 'warning'], wire.loggingLevel, 'the logging level of a job'),
    environmentVariables: wire.environmentVariables,
    ...(Object.keys(wire.secrets).length > 0 ? { secrets: wire.secrets } : {}),
    concurrencyMax: wire.concurrencyMax === 0 ? null : wire.concurrencyMax,
    memoryBytesMax: wire.memoryBytesMax === 0 ? null : wire.memoryBytesMax,
    outputFileName: wire.outputFileName === '' ? null : wire.outputFileName,
    customOutput: readOneOf(['collected', 'shared'], wire.customOutput, 'the custom output of a job'),
    ...(wire.gpu > 0 ? { gpu: wire.gpu } : {}),
    ...(wire.keepWarm ? { keepWarm: true } : {}),
  };
}

/** A coordinator of a release without them says nothing. */
function readOutputForm(json: string): { readonly outputForm?: OutputForm } {
  return json === '' ? {} : { outputForm: { ...defaultOutputForm, ...readJson(json, 'the output settings of a job') } };
}

function writeScorer(scorer: Scorer): ScorerWire {
  switch (scorer.kind) {
    case 'onnx':
      return { kind: scorer.kind, settingsJson: JSON.stringify(scorer.settings) };
    case 'mlflow':
      return { kind: scorer.kind, settingsJson: JSON.stringify({ rowsPerPredict: scorer.rowsPerPredict }) };
    case 'encode': {
      const { kind, ...settings } = scorer;
      return { kind, settingsJson: JSON.stringify(settings) };
    }
    case 'python':
    case 'node':
      return { ...scorer };
  }
}

/** Settings come from a coordinator of the same release or one before, which has checked them. */
function readScorer(wire: Scorer__Output): Scorer {
  const kind = readOneOf(['onnx', 'mlflow', 'python', 'node', 'encode'], wire.kind, 'the scorer of a job');
  if (kind === 'python' || kind === 'node') return { kind, script: wire.script };
  const settings = readJson(wire.settingsJson, 'the settings of a scorer');
  if (kind === 'onnx') return { kind, settings: { ...defaultOnnxSettings, ...(settings as Partial<OnnxSettings>) } };
  if (kind === 'encode') return { kind, ...(settings as Omit<EncodeScorer, 'kind'>) };
  return { kind, rowsPerPredict: (settings as { readonly rowsPerPredict?: number | null }).rowsPerPredict ?? null };
}

function readJson(text: string, what: string): object {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value;
  } catch {
    // Told below, as a value of the wrong kind is.
  }
  throw new BatchError('REQUEST_INVALID', `${what} are no JSON object: ${text.slice(0, 60)}`);
}

function writeEnvironment(environment: EnvironmentSpec): EnvironmentWire {
  const conda = environment.kind === 'host' ? null : environment.conda;
  const reference =
    environment.kind === 'host' ? environment.python : environment.kind === 'image' ? environment.image : '';
  return {
    kind: environment.kind,
    reference: reference ?? '',
    condaYaml: conda?.yaml ?? '',
    name: conda?.name ?? '',
    digest: conda?.digest ?? '',
  };
}

function readEnvironment(wire: Environment__Output): EnvironmentSpec {
  const kind = readOneOf(['host', 'conda', 'image'], wire.kind, 'the environment of a job');
  if (kind === 'host') return { kind, python: wire.reference === '' ? null : wire.reference };
  const conda: CondaSpec | null =
    wire.digest === '' ? null : { name: wire.name, yaml: wire.condaYaml, digest: digest(wire.digest) };
  if (kind === 'image') return { kind, image: wire.reference, conda };
  if (conda === null) throw new BatchError('REQUEST_INVALID', 'a conda environment comes without its file');
  return { kind, conda };
}

function readArtifact(wire: Artifact__Output): Artifact {
  return {
    kind: readOneOf(['file', 'folder'], wire.kind, 'the kind of an artifact'),
    name: wire.name,
    digest: digest(wire.digest),
    bytes: wire.bytes,
  };
}
