/**
 * Worker nodes' side of the coordinator: who is who, what they say, what they are told. Translates between the gRPC
 * service and the loop; decides nothing.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { BatchError } from '../common/core/batch-error.ts';
import {
  noCircumstances,
  type AdoptedLease,
  type CoordinatorMessage,
  type GpuReading,
  type JobSpec,
  type JoinReply,
  type JoinRequest,
  type NodeMessage,
} from '../common/core/cluster-messages.ts';
import { combineCrc32 } from '../common/core/crc32-combine.ts';
import { digest, type Incarnation, type JobName, type NodeName } from '../common/core/ids.ts';
import type { InputFile } from '../common/core/input.ts';
import { limits } from '../common/core/limits.ts';
import { protocolHas } from '../common/core/protocol.ts';
import { formatToken, type Token } from '../common/core/token.ts';
import type { Clock } from '../common/io/clock.ts';
import { outsideError } from '../common/io/errno.ts';
import type { Effect } from './core/effects.ts';
import { heartbeatIntervalMs, leaseMs, type Job } from './core/ledger.ts';
import { nodeCommands, resultCommand } from './core/node-commands.ts';
import type { JobFiles } from './job-files.ts';
import { jobSpec, toldColumns } from './job-spec.ts';
import type { LogPieceOf, LogStore } from './logs/log-store.ts';
import type { Loop } from './loop.ts';
import type { ArtifactStore } from './registry/artifact-store.ts';
import type { NodeAnswer } from './core/doctor.ts';
import { NodeQuestions } from './node-questions.ts';
import type { ResultStore } from './result-store.ts';
import type { ClusterBackend, UploadedPiece, UploadProgress } from './service/cluster-server.ts';
import { ArtifactDesk } from './artifact-desk.ts';
import { sessionProtocol } from './session-protocol.ts';
import type { NodeLink } from './service/node-link.ts';
import { readInput, type InputRange, type OpenInput } from './service/read-input.ts';

export interface NodeDeskOptions {
  readonly loop: Loop;
  readonly clock: Clock;
  readonly joinToken: string;
  readonly release: string;
  readonly results: ResultStore;
  readonly artifacts: Pick<ArtifactStore, 'open'>;
  readonly logs: Pick<LogStore, 'take'>;
  /** Bytes of a log have come. */
  readonly onLog: (job: JobName, name: string) => void;
  readonly openInput: OpenInput;
  readonly filesOf: (job: JobName) => JobFiles | undefined;
  /** Values of the secrets that a job's settings refer to, by name. @throws SECRET_NOT_FOUND */
  readonly secretsOf: (settings: Job['deployment']['settings']) => Readonly<Record<string, string>>;
  /** One job cannot go on. */
  readonly onJobFailed: (job: JobName, error: BatchError) => void;
  /** A defect: the process must end. */
  readonly onFatal: (error: unknown) => void;
}

interface Session {
  readonly node: NodeName;
  readonly protocol: number;
  readonly release: string;
  readonly answersDiagnose: boolean;
  readonly incarnation: Incarnation;
}

type EffectOf<K extends Effect['kind']> = Extract<Effect, { kind: K }>;

export class NodeDesk implements ClusterBackend {
  readonly places: ArtifactDesk;
  readonly #options: NodeDeskOptions;
  readonly #loop: Loop;
  /** The oldest first. */
  readonly #sessions = new Map<string, Session>();
  readonly #links = new Map<NodeName, NodeLink>();
  readonly #questions: NodeQuestions;
  readonly #adoptions = new Map<NodeName, AdoptedLease[]>();
  /** Of nodes that are connected, as their last heartbeats have it. */
  readonly #gpus = new Map<NodeName, readonly GpuReading[]>();

  constructor(options: NodeDeskOptions) {
    this.#options = options;
    this.#loop = options.loop;
    this.#questions = new NodeQuestions(options.clock);
    this.places = new ArtifactDesk(options.clock);
  }

  join(request: JoinRequest, certified: NodeName | null): JoinReply {
    const { joinToken, release, clock } = this.#options;
    const protocol = sessionProtocol(request, release);
    if (certified === null) checkToken(request.joinToken, joinToken);
    else checkName(request.name, certified);
    const { name: node, incarnation, slots, labels, hostname, pid, leavesInMs = null } = request;
    const wallMs = clock.wall();
    this.#loop.handle({ kind: 'join', node, incarnation, slots, labels, hostname, pid, leavesInMs, wallMs });
    this.#adoptions.delete(node);
    const session = randomBytes(18).toString('base64url');
    const { release: nodeRelease, answersDiagnose } = request;
    this.#sessions.set(session, { node, protocol, incarnation, release: nodeRelease, answersDiagnose });
    this.#dropSessions(node, incarnation);
    const { ledger } = this.#loop;
    return {
      protocol,
      release,
      session,
      epoch: ledger.epoch,
      heartbeatMs: heartbeatIntervalMs(ledger),
      leaseMs: leaseMs(ledger),
      uploadCreditBytes: limits.uploadCreditBytes,
    };
  }

  nodeOfSession(session: string): NodeName {
    const known = this.#sessions.get(session);
    if (known) return known.node;
    throw new BatchError('SESSION_UNKNOWN', 'this session is not known here; the worker node joins again');
  }

  receive(link: NodeLink, message: NodeMessage, inline: readonly Uint8Array[]): void {
    const current = this.#links.get(link.node);
    if (message.hello) {
      if (current && current !== link) current.close();
      this.#links.set(link.node, link);
    } else if (current !== link) {
      return;
    }
    const broken: BrokenResult[] = [];
    const results = message.results.filter((report, place) => {
      if (report.isUploaded) return false;
      const bytes = inline[place] ?? new Uint8Array(0);
      const defect = defectOf(report, { length: bytes.length, crc32: crc32(bytes) });
      const isWanted = this.#isLeased(link.node, report.token) && !this.#isPlaced(report.token);
      if (defect === null && isWanted) this.#options.results.putInline(report.token, bytes);
      if (defect !== null) broken.push({ token: report.token, defect });
      return defect === null;
    });
    this.#loop.together(() => {
      for (const command of nodeCommands(link.node, { ...message, results }, this.#options.clock.wall())) {
        this.#loop.handle(command);
      }
      for (const { token, defect } of broken) this.#refuse(link.node, token, defect);
    });
    for (const report of message.results) {
      if (report.isUploaded) void this.#takeUploaded(link.node, report).catch(this.#options.onFatal);
    }
    for (const diagnosis of message.diagnoses) this.#questions.answered(link.node, diagnosis);
    if (message.heartbeat) {
      this.#gpus.set(link.node, message.heartbeat.gpus ?? []);
      link.send({ heartbeatAck: message.heartbeat.sequence });
    }
  }

  disconnected(link: NodeLink): void {
    if (this.#links.get(link.node) !== link) return;
    this.#links.delete(link.node);
    this.#gpus.delete(link.node);
    this.#questions.away(link.node);
    this.#loop.handle({ kind: 'disconnected', node: link.node });
  }

  async uploadPiece(node: NodeName, piece: UploadedPiece): Promise<UploadProgress> {
    this.#requireLease(node, piece.token);
    // After a lost connection a node uploads again; what is on its way to the disk already must not be begun anew.
    if (this.#isPlaced(piece.token)) {
      const isComplete = piece.offset + piece.data.length === piece.totalBytes;
      return { isComplete, freed: Promise.resolve() };
    }
    const progress = await this.#options.results.putPiece(piece);
    try {
      this.#requireLease(node, piece.token);
      return progress;
    } catch (error) {
      // It has ended meanwhile, and nobody asks for the bytes any more.
      this.#options.results.discard(piece.token);
      throw error;
    }
  }

  async logPiece(node: NodeName, piece: LogPieceOf): Promise<number> {
    const received = await this.#options.logs.take(node, piece);
    if (piece.data.length > 0) this.#options.onLog(piece.job, piece.name);
    return received;
  }

  artifact(of: string, offset: number): AsyncIterable<Uint8Array> {
    return this.#options.artifacts.open(digest(of), offset);
  }

  input(name: JobName, ordinal: number, identity: string, range: InputRange): AsyncIterable<Uint8Array> {
    const files = this.#options.filesOf(name);
    if (!files) throw new BatchError('JOB_NOT_FOUND', `job ${name} is not running here`);
    return readInput(files, ordinal, identity, range, this.#options.openInput);
  }

  /** Carries out what concerns worker nodes. */
  grant(effect: EffectOf<'grant'>): void {
    const link = this.#links.get(effect.node);
    const files = this.#options.filesOf(effect.job);
    if (!link) return;
    if (!files) return this.#wantsStill(link);
    const { first, count } = effect.range;
    const known = files.catalog.known(first, count);
    if (known) return this.#sendGrant(effect, link, files, known);
    files.catalog
      .files(first, count)
      .then((inputs) => this.#sendGrant(effect, link, files, inputs))
      .catch((error: unknown) => {
        const failure = outsideError(error, `the list of inputs of job ${effect.job} cannot be read`);
        if (failure) this.#options.onJobFailed(effect.job, failure);
        else this.#options.onFatal(error);
      });
  }

  /** Never throws what is the job's own to bear: that fails the job, though not in the midst of an effect. */
  #sendGrant(effect: EffectOf<'grant'>, link: NodeLink, files: JobFiles, inputs: readonly InputFile[]): void {
    const { token, node, attempt, isAlone } = effect;
    const job = this.#loop.ledger.jobs.get(effect.job);
    if (this.#links.get(node) !== link) return;
    // While the list was read, the lease or the whole job may have ended.
    if (!job || !this.#isLeased(node, token)) return this.#wantsStill(link);
    if (!link.announced.has(job.name) && !this.#announce(link, job, files)) return this.#wantsStill(link);
    const grant = { token, job: job.name, first: effect.range.first, files: inputs, attempt, isAlone };
    link.send({ grants: [{ ...grant, ...toldColumns(job) }] });
    // The list was read for a while: what is being canceled comes back at once, unless a slot has begun it.
    if (job.state === 'CancelRequested') link.send({ drainedJobs: [job.name] });
  }

  /** A grant has taken a lease from what the node asked for, and does not go out: the node waits for it, and would ask no more. */
  #wantsStill(link: NodeLink): void {
    // Not in the midst of an effect.
    queueMicrotask(() => {
      // Whoever has come back has asked anew.
      if (this.#links.get(link.node) === link) this.#loop.handle({ kind: 'want', node: link.node, leases: 1 });
    });
  }

  /** False when the node cannot be told what it would work on. */
  #announce(link: NodeLink, job: Job, files: JobFiles): boolean {
    try {
      link.send({ jobs: [this.#specOf(job, files)] });
    } catch (error) {
      if (!(error instanceof BatchError)) throw error;
      // Not in the midst of an effect.
      queueMicrotask(() => this.#options.onJobFailed(job.name, error));
      return false;
    }
    link.announced.add(job.name);
    return true;
  }

  adopt(effect: EffectOf<'adopt'>): void {
    const adoptions = this.#adoptions.get(effect.node) ?? [];
    adoptions.push({ oldToken: effect.oldToken, newToken: effect.token });
    this.#adoptions.set(effect.node, adoptions);
  }

  welcome(effect: EffectOf<'welcome'>): void {
    const link = this.#links.get(effect.node);
    const kept = effect.kept.map((token) => ({ oldToken: token, newToken: token }));
    const adoption = [...(this.#adoptions.get(effect.node) ?? []), ...kept];
    this.#adoptions.delete(effect.node);
    if (!link) return;
    link.send({ adoption, jobs: this.#jobsOf(link) });
  }

  tell(node: NodeName, part: Partial<CoordinatorMessage>): void {
    this.#links.get(node)?.send(part);
  }

  /** How full the GPUs of each node are, where its scoring hosts have any. */
  get gpus(): ReadonlyMap<NodeName, readonly GpuReading[]> {
    return this.#gpus;
  }

  /** How the node is, and what it sees at the absolute paths. Never rejects. */
  async diagnose(node: NodeName, paths: readonly string[]): Promise<NodeAnswer> {
    const link = this.#links.get(node);
    const session = this.#sessionOf(node);
    if (!link || !session) return { kind: 'away' };
    if (!session.answersDiagnose) return { kind: 'older', release: session.release };
    return await this.#questions.ask(node, (question) => link.send({ diagnose: [question] }), paths);
  }

  /** Another coordinator leads within `withinMs`. Nodes that know what that means ask for work for the time until then. */
  announceHandover(withinMs: number): void {
    for (const link of this.#links.values()) {
      const { protocol = 0 } = this.#sessionOf(link.node) ?? {};
      if (protocol >= protocolHas.handover) link.send({ handoverMs: withinMs });
    }
  }

  /** It leaves once what runs on it is scored. */
  drain({ node, untilWallMs }: EffectOf<'drain-node'>): void {
    const drainMs = untilWallMs === null ? null : Math.max(1, untilWallMs - this.#options.clock.wall());
    this.tell(node, { isDrain: true, drainMs });
  }

  /** `node` null: all. */
  drainJob(job: JobName, node: NodeName | null): void {
    for (const link of this.#links.values()) {
      if ((node ?? link.node) === link.node) link.send({ drainedJobs: [job] });
    }
  }

  endJob(job: JobName): void {
    for (const link of this.#links.values()) {
      if (link.announced.delete(job)) link.send({ endedJobs: [job] });
    }
  }

  /** A node that has not been seen for long: it joins anew if it comes back. */
  forget(node: NodeName): void {
    for (const [session, other] of this.#sessions) if (other.node === node) this.#sessions.delete(session);
    this.#adoptions.delete(node);
    this.places.forget(node);
  }

  /**
   * Those of an incarnation before go, and the oldest of many. The others stay: a request to join that was on its way for long may
   * come after the one that its node sent when it had given up waiting, and must not end what that one has begun.
   */
  #dropSessions(node: NodeName, incarnation: Incarnation): void {
    const own = [...this.#sessions].filter(([, other]) => other.node === node);
    if (own.some(([, other]) => other.incarnation !== incarnation)) this.places.forget(node);
    own.forEach(([session, other], index) => {
      const isOld = index < own.length - limits.sessionsPerNodeMax;
      if (isOld || other.incarnation !== incarnation) this.#sessions.delete(session);
    });
  }

  close(): void {
    for (const link of [...this.#links.values()]) link.close();
    this.#links.clear();
  }

  #sessionOf(node: NodeName): Session | undefined {
    return [...this.#sessions.values()].findLast((one) => one.node === node);
  }

  /** Jobs whose leases the node has kept: it must know on this stream that they go on. */
  #jobsOf(link: NodeLink): readonly JobSpec[] {
    const specs: JobSpec[] = [];
    for (const job of this.#loop.ledger.jobs.values()) {
      const files = this.#options.filesOf(job.name);
      if (!files || !job.nodes.has(link.node) || link.announced.has(job.name)) continue;
      try {
        specs.push(this.#specOf(job, files));
        link.announced.add(job.name);
      } catch (error) {
        if (!(error instanceof BatchError)) throw error;
        // Not in the midst of an effect.
        queueMicrotask(() => this.#options.onJobFailed(job.name, error));
      }
    }
    return specs;
  }

  /** @throws SECRET_NOT_FOUND */
  #specOf(job: Job, { inputRoot }: JobFiles): JobSpec {
    const { secretsOf } = this.#options;
    return jobSpec(this.#loop.ledger, job, inputRoot, (settings, isShadow) => {
      try {
        return secretsOf(settings);
      } catch (error) {
        // The node finds it missing when it starts the shadow, and says so; the job goes on.
        if (isShadow && error instanceof BatchError) return {};
        throw error;
      }
    });
  }

  /** Undefined too when the segment's disk has failed, which the job's writer tells by itself. */
  async #wholeOrFailed(token: Token): ReturnType<ResultStore['whole']> {
    try {
      return await this.#options.results.whole(token);
    } catch (error) {
      if (outsideError(error, 'the bytes of a result are lost')) return undefined;
      throw error;
    }
  }

  #requireLease(node: NodeName, token: Token): void {
    if (this.#isLeased(node, token)) return;
    throw new BatchError('LEASE_STALE', `no lease ${formatToken(token)} is held by ${node} any more`);
  }

  #isLeased(node: NodeName, token: Token): boolean {
    const { ledger } = this.#loop;
    return token.epoch === ledger.epoch && ledger.leases.get(token.counter)?.node === node;
  }

  /** The result of a live lease has been taken, and its commit is on its way. */
  #isPlaced(token: Token): boolean {
    const { ledger } = this.#loop;
    return token.epoch === ledger.epoch && (ledger.leases.get(token.counter)?.placed ?? null) !== null;
  }

  /** An uploaded result is complete before its report comes, unless this process has not seen the upload. */
  async #takeUploaded(node: NodeName, report: NodeMessage['results'][number]): Promise<void> {
    const { token } = report;
    const whole = await this.#wholeOrFailed(token);
    // Told a second time, and its bytes may have gone their way since, or are on their way here once more.
    if (whole === null || this.#isPlaced(token)) return;
    const defect = defectOf(report, whole);
    if (defect === null) this.#loop.handle(resultCommand(node, report));
    else this.#refuse(node, token, defect);
  }

  /** The bytes are not those that the node has a report of: the attempt has failed, and the node forgets its result. */
  #refuse(node: NodeName, token: Token, defect: string): void {
    const message = `result ${formatToken(token)}: ${defect}`;
    const failure = { code: 'ARTIFACT_CORRUPT', message, detail: '' } as const;
    const circumstances = noCircumstances;
    this.#loop.handle({ kind: 'attempt-failed', node, token, failure, fileIndex: -1, circumstances });
    this.tell(node, { refused: [{ token, failure }] });
  }
}

interface BrokenResult {
  readonly token: Token;
  readonly defect: string;
}

/** What is wrong with the bytes that have come for a report; null when they are what it says. */
function defectOf(
  report: NodeMessage['results'][number],
  found: { readonly length: number; readonly crc32: number } | undefined,
): string | null {
  const bytes = report.bytes + report.customBytes;
  const sum =
    report.customBytes === 0 ? report.crc32 : combineCrc32(report.crc32, report.customCrc32, report.customBytes);
  if (!found) return 'its bytes have not arrived, or could not be made durable';
  if (found.length === bytes && found.crc32 === sum) return null;
  return `${found.length} bytes with checksum ${found.crc32} have arrived, ${bytes} with ${sum} were announced`;
}

function checkToken(given: string, wanted: string): void {
  const [a, b] = [Buffer.from(given), Buffer.from(wanted)];
  if (a.length === b.length && timingSafeEqual(a, b)) return;
  const what = given === '' ? 'no join token was given' : 'the join token is not the one of this coordinator';
  throw new BatchError('TOKEN_INVALID', `${what}; \`batchmill coordinator start\` prints the line to join with`);
}

function checkName(given: NodeName, certified: NodeName): void {
  if (given === certified) return;
  throw new BatchError('TOKEN_INVALID', `the certificate is that of worker node ${certified}, not of ${given}`);
}
