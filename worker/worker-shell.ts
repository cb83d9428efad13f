/**
 * Carries out what the worker node's core decides, and tells the core what came of it. It holds connections, processes,
 * files and bytes; it decides nothing.
 */
import { isLoopback, parseAddress } from '../common/config/address.ts';
import type { Artifact } from '../common/core/deployment.ts';
import { BatchError, toBatchError } from '../common/core/batch-error.ts';
import {
  emptyNodeMessage,
  type CoordinatorMessage,
  type JobSpec,
  type JoinReply,
  type JoinRequest,
  type NodeMessage,
  type ShadowSpec,
} from '../common/core/cluster-messages.ts';
import type { Diagnose } from '../common/core/diagnosis.ts';
import { monotonicMs, nodeName, type JobName } from '../common/core/ids.ts';
import { invariant } from '../common/core/invariant.ts';
import { limits } from '../common/core/limits.ts';
import { formatToken } from '../common/core/token.ts';
import { deferred } from '../common/io/deferred.ts';
import { delay } from '../common/io/delay.ts';
import { reasonOf } from '../common/io/errno.ts';
import type { ClusterTrust } from '../common/rpc/credentials.ts';
import { Stores } from '../common/storage/stores.ts';
import { BulkLink, CurrentBulkSource } from './bulk-link.ts';
import { ControlLink } from './control-link.ts';
import type { CoordinatorAddresses } from './coordinator-addresses.ts';
import { advance, nextWake } from './core/advance.ts';
import type { WorkerCommand } from './core/commands.ts';
import type { EventOf, WorkerEvent } from './core/events.ts';
import { givenLease } from './core/lease-index.ts';
import { logLine } from './core/log-line.ts';
import { hasReports } from './core/report.ts';
import { newWorkerState, type WorkerState } from './core/state.ts';
import { diagnose } from './diagnose.ts';
import { CallSizes } from './devices/call-sizes.ts';
import { HostSetup } from './host-setup.ts';
import { HostSlots } from './host-slots.ts';
import type { JobArtifacts } from './host-starts.ts';
import { LogShipper } from './log-shipper.ts';
import { NodeFiles } from './node-files.ts';
import { ArtifactCache, type LocalisedArtifact } from './staging/artifact-cache.ts';
import { ArtifactPeers } from './peers/artifact-peers.ts';
import { InputStager } from './staging/input-stager.ts';
import { StoreInputs } from './staging/store-inputs.ts';
import { StoreOutputs } from './staging/store-outputs.ts';
import { WorkTable } from './work-table.ts';
import type { WorkerOptions, WorkerStats } from './worker.ts';

/** @source Node.js: longer timers fire at once */
const timerMsMax = 2_147_483_647;

export interface WorkerShellOptions extends WorkerOptions {
  readonly addresses: CoordinatorAddresses;
  readonly request: JoinRequest;
  /** Of each new connection. */
  readonly trust: () => ClusterTrust;
  readonly joinMsMax: number;
}

export class WorkerShell {
  readonly #options: WorkerShellOptions;
  readonly #state: WorkerState;
  readonly #files: NodeFiles;
  readonly #setup: HostSetup;
  readonly #hosts: HostSlots;
  readonly #artifacts: ArtifactCache;
  readonly #inputs: StoreInputs;
  readonly #outputs: StoreOutputs;
  readonly #works: WorkTable;
  readonly #logs: LogShipper;
  readonly #bulk = new CurrentBulkSource();
  /** Ends fetches of artifacts. */
  readonly #over = new AbortController();
  readonly #jobArtifacts = new Map<JobName, JobArtifacts & { readonly release: () => void }>();
  /** Hosts whose user code wrote files for a result that is not committed yet, by work. */
  readonly #customHosts = new Map<number, number>();
  readonly #removals = new Set<Promise<void>>();
  #control: ControlLink | null = null;
  /** Resolves when what an earlier process has left is gone; nothing is written before. */
  #swept: Promise<void> | null = null;

  readonly #commands: WorkerCommand[] = [];
  #isAdvancing = false;
  #wake: NodeJS.Timeout | null = null;
  #wakeAt = Infinity;
  #turnEnd: NodeJS.Immediate | null = null;
  #wakeLook: NodeJS.Immediate | null = null;
  #isOver = false;
  readonly #counts = { scored: 0, failed: 0, joins: 0 };
  readonly #joined = deferred<void>();
  readonly #closed = deferred<void>();

  constructor(options: WorkerShellOptions) {
    const { clock, log, python, environment, slots, joinMsMax } = options;
    this.#options = options;
    const { spoolBytesMax = limits.spoolBytesMax, untilWallMs = null } = options;
    const endsAt = untilWallMs === null ? null : monotonicMs(clock.monotonic() + untilWallMs - clock.wall());
    this.#state = newWorkerState({ slots, joinMsMax, spoolBytesMax, endsAt });
    this.#files = new NodeFiles(options.scratchDir, nodeName(options.name), log);
    const tell = (command: WorkerCommand): void => this.#tell(command);
    const { scratchDir, environmentsDir = this.#files.environmentsDir } = options;
    const known = options.devices && { devices: options.devices };
    this.#setup = new HostSetup({
      environmentsDir,
      scratchDir,
      python,
      slots,
      environment,
      clock,
      delay,
      log,
      ...known,
    });
    const hostLogBytesMax = options.hostLogBytesMax ?? limits.hostLogBytesMax;
    const { name: node } = options.request;
    const setup = this.#setup;
    const stores = new Stores({ environment, delay, random: options.random });
    this.#outputs = new StoreOutputs({ stores, log });
    const outputs = this.#outputs;
    const holdArtifacts = ({ model, code }: JobSpec): (() => void) => {
      const held = [model, code].filter((artifact) => artifact !== null);
      held.forEach((artifact) => this.#artifacts.hold(artifact));
      return () => held.forEach((artifact) => this.#artifacts.release(artifact));
    };
    const checkArtifacts = async ({ model, code }: JobSpec): Promise<void> => {
      await Promise.all([model, code].map((artifact) => artifact && this.#artifacts.check(artifact)));
    };
    const common = { clock, log, tell };
    const files = this.#files;
    const callSizes = new CallSizes(files.callSizesFile, log);
    const kept = { hostLogBytesMax, holdArtifacts, checkArtifacts, callSizes };
    this.#hosts = new HostSlots({ ...common, node, slots, files, setup, outputs, ...kept });
    const source = this.#bulk;
    const logsDir = (job: JobName): string => this.#files.logsDir(job);
    this.#logs = new LogShipper({ logsDir, route: () => source.link, delay, log });
    const root = this.#files.artifactsDir;
    const { cacheBytesMax: bytesMax = limits.artifactCacheBytesMax } = options;
    const { signal } = this.#over;
    const peers = artifactPeers(options, () => source.link, signal);
    this.#artifacts = new ArtifactCache({ root, bytesMax, source, peers, log, clock, delay, signal });
    this.#inputs = new StoreInputs({ stores, delay, log });
    const stager = new InputStager({ source, delay, stores: this.#inputs });
    this.#works = new WorkTable({ stager, files: this.#files, log, tell });
  }

  /** Resolves when the node has joined; see `startWorker` for what it throws. */
  async start(): Promise<void> {
    void this.#artifacts.keepFresh();
    this.#tell({ kind: 'begin' });
    await this.#joined.promise;
  }

  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  leave(how: 'drain' | 'close'): Promise<void> {
    this.#tell({ kind: how });
    return this.#closed.promise;
  }

  stats(): WorkerStats {
    const { link, slots, running, leases } = this.#state;
    return {
      link: link.kind,
      slots: slots.length,
      running: running.size,
      held: leases.size,
      hostsStarted: this.#hosts.started,
      ...this.#counts,
    };
  }

  /** Takes a command in. One that comes while another is being dealt with waits for it. */
  #tell(command: WorkerCommand): void {
    if (this.#isOver) return;
    this.#commands.push(command);
    if (this.#isAdvancing) return;
    this.#isAdvancing = true;
    try {
      for (let next = this.#commands.shift(); next; next = this.#commands.shift()) {
        for (const event of advance(this.#state, next, this.#options.clock.monotonic())) this.#carryOut(event);
      }
      this.#schedule();
    } catch (error) {
      // A defect of ours: the node ends, what it held is scored elsewhere.
      void this.#finish(error);
    } finally {
      this.#isAdvancing = false;
    }
  }

  #schedule(): void {
    if (this.#isOver) return;
    if (this.#turnEnd === null && hasReports(this.#state) && this.#control?.isWritable === true) {
      this.#turnEnd = setImmediate(() => {
        this.#turnEnd = null;
        this.#tell({ kind: 'turn-ended' });
      });
    }
    // Once for all that comes in a turn of the event loop: it looks at everything that is held.
    this.#wakeLook ??= setImmediate(() => this.#setWake());
  }

  #setWake(): void {
    this.#wakeLook = null;
    if (this.#isOver) return;
    const now = this.#options.clock.monotonic();
    const wakeAt = nextWake(this.#state, now) ?? Infinity;
    // A timer that is early costs one look; setting one anew for every command costs more.
    if (wakeAt >= this.#wakeAt) return;
    if (this.#wake) clearTimeout(this.#wake);
    this.#wakeAt = wakeAt;
    // A timer takes no more than 24 days; one that is early costs one look.
    this.#wake = setTimeout(() => this.#tick(), Math.min(timerMsMax, Math.max(1, Math.ceil(wakeAt - now))));
  }

  #tick(): void {
    this.#wake = null;
    this.#wakeAt = Infinity;
    this.#tell({ kind: 'tick', rssBytes: process.memoryUsage.rss(), random: this.#options.random() });
  }

  #carryOut(event: WorkerEvent): void {
    const said = logLine(event);
    if (said) this.#options.log[said.level](said.message, said.fields);
    switch (event.kind) {
      case 'JoinStarted':
        return this.#join();
      case 'LinkOpened':
        return this.#openLink(event.reply);
      case 'LinkLost':
        return this.#closeLink();
      case 'GaveUp':
        return void this.#finish(BatchError.fromFailure(event.failure));
      case 'Left':
        return void this.#finish(null);
      case 'Reported':
        return this.#control?.send(this.#withGpus(event.message));
      case 'ArtifactsWanted':
        return void this.#localise(event.spec);
      case 'JobEnded':
        return this.#removeJob(event.job);
      case 'StagingStarted':
        return this.#works.stage(event, this.#sweptOnce());
      case 'HostStarted':
        return this.#startHost(event);
      case 'HostStopping':
        return this.#hosts.stop(event.slot, event.host, event.how);
      case 'AttemptStarted':
      case 'AttemptQueued':
        return this.#startAttempt(event);
      case 'Scored':
        this.#counts.scored += 1;
        return this.#works.releaseInputs(event.work);
      case 'AttemptFailed':
        this.#counts.failed += 1;
        return this.#works.releaseInputs(event.work);
      case 'UploadStarted':
        return this.#bulk.link ? this.#works.upload(event, this.#bulk.link) : undefined;
      case 'Forgotten':
        return this.#forget(event);
      case 'Began':
      case 'Heard':
      case 'HandoverAnnounced':
      case 'LeavingBegan':
      case 'KillSet':
      case 'Adopted':
      case 'AdoptionEnded':
      case 'TokenReturned':
      case 'JobAnnounced':
      case 'ArtifactsPresent':
      case 'ArtifactsPutOff':
      case 'LeaseGranted':
      case 'StagingPutOff':
      case 'Staged':
      case 'HostReady':
      case 'HostFailed':
      case 'SlotEmptied':
      case 'AttemptUndone':
      case 'HandedBack':
      case 'HostLost':
      case 'Uploaded':
      case 'UploadPutOff':
      case 'PreparationMoved':
        // These only change the core's state.
        return;
    }
  }

  #join(): void {
    const { addresses, trust, clock, random, untilWallMs = null } = this.#options;
    const leavesInMs = untilWallMs === null ? null : Math.max(1, Math.round(untilWallMs - clock.wall()));
    const link: ControlLink = new ControlLink({
      address: addresses.current,
      others: addresses.count - 1,
      trust,
      request: { ...this.#options.request, leavesInMs },
      clock,
      onJoined: (reply) => this.#tell({ kind: 'joined', reply }),
      onLost: (failure) => {
        // Whoever leads now, it is not the one that has just been lost.
        addresses.next();
        const kind = this.#state.link.kind === 'joining' ? 'join-failed' : 'link-lost';
        this.#tell({ kind, failure, random: random() });
      },
      onMessage: (message) => {
        for (const question of message.diagnose) void this.#answer(question, link);
        this.#tell({ kind: 'message', message: this.#withinDevices(message) });
      },
      onWritable: () => this.#schedule(),
      inlineOf: ({ token }) => this.#works.inlineOf(this.#state.byToken.get(formatToken(token)) ?? 0),
    });
    this.#control = link;
    link.join();
  }

  /** What the core does not decide about goes along with its heartbeats. */
  #withGpus(message: NodeMessage): NodeMessage {
    const gpus = message.heartbeat ? this.#setup.gpuReadings() : [];
    return gpus.length > 0 && message.heartbeat ? { ...message, heartbeat: { ...message.heartbeat, gpus } } : message;
  }

  /** A job whose hosts are to have a share of a GPU has as many of them as there are shares. */
  #withinDevices(message: CoordinatorMessage): CoordinatorMessage {
    if (message.jobs.every(({ settings }) => settings.gpu === undefined)) return message;
    const jobs = message.jobs.map((spec) => {
      const settings = { ...spec.settings, concurrencyMax: this.#setup.slotsOf(spec) };
      return { ...spec, settings };
    });
    return { ...message, jobs };
  }

  #openLink(reply: JoinReply): void {
    const { addresses, trust } = this.#options;
    this.#counts.joins += 1;
    this.#bulk.link = new BulkLink({
      ...{ address: addresses.current, trust, session: reply.session },
      creditBytes: reply.uploadCreditBytes,
    });
    this.#control?.open(reply.session);
    void this.#sweptOnce();
    this.#joined.resolve();
  }

  /** Goes over the connection that the question came by, or nowhere. */
  async #answer(question: Diagnose, link: ControlLink): Promise<void> {
    const { scratchDir, python, environment, clock } = this.#options;
    const gpus = (): Promise<number> => this.#setup.gpus();
    const findPython = (): Promise<string> => this.#setup.python();
    const answer = await diagnose(question, { scratchDir, python, environment, clock, gpus, findPython });
    link.send({ ...emptyNodeMessage, diagnoses: [answer] });
  }

  #closeLink(): void {
    this.#control?.close();
    this.#control = null;
    this.#bulk.link?.close();
    this.#bulk.link = null;
  }

  #sweptOnce(): Promise<void> {
    this.#swept ??= Promise.all([this.#files.sweep(), this.#artifacts.sweep(), this.#setup.environments.sweep()]).then(
      () => undefined,
      (error: unknown) => this.#options.log.warn('the scratch folder cannot be swept', { reason: reasonOf(error) }),
    );
    return this.#swept;
  }

  async #localise(spec: JobSpec): Promise<void> {
    const { name, model, code } = spec;
    await this.#sweptOnce();
    const held: Artifact[] = [];
    const release = (): void => held.forEach((artifact) => this.#artifacts.release(artifact));
    const hold = (artifact: Artifact): Promise<LocalisedArtifact> => {
      const localised = this.#artifacts.localise(artifact);
      // What is refused at once, such as a name that is none, is not held.
      held.push(artifact);
      return localised;
    };
    try {
      const [localModel, localCode] = await Promise.all([model && hold(model), code && hold(code)]);
      if (!this.#state.jobs.has(name)) return release();
      const own = { model: localModel, code: localCode, release };
      const shadow = spec.shadow && this.#localiseShadow(name, spec.shadow, hold);
      // Told with the mini-batches that it was wanted for.
      shadow?.catch(() => undefined);
      this.#jobArtifacts.set(name, shadow === undefined ? own : { ...own, shadow });
      this.#tell({ kind: 'artifacts-localised', job: name });
    } catch (error) {
      release();
      this.#tell({ kind: 'artifacts-failed', job: name, failure: toBatchError(error).toFailure() });
    }
  }

  /** While the coordinator is away it is waited for, as the job's own results do. */
  async #localiseShadow(
    job: JobName,
    { model, code }: ShadowSpec,
    hold: (artifact: Artifact) => Promise<LocalisedArtifact>,
  ): Promise<JobArtifacts> {
    for (let failed = 1; ; failed += 1) {
      try {
        const [localModel, localCode] = await Promise.all([model && hold(model), code && hold(code)]);
        return { model: localModel, code: localCode };
      } catch (error) {
        if (toBatchError(error).code === 'COORDINATOR_UNREACHABLE') failed = 0;
        if (failed === limits.shadowStartsMax) throw error;
        await delay(limits.shadowRetryMs, this.#over.signal);
        if (!this.#jobArtifacts.has(job) || this.#isOver) throw error;
      }
    }
  }

  #removeJob(job: JobName): void {
    this.#inputs.finish(job);
    this.#outputs.finish(job);
    const artifacts = this.#jobArtifacts.get(job);
    this.#jobArtifacts.delete(job);
    const removal = this.#hosts
      .endOf(job)
      .finally(() => artifacts?.release())
      .then(() => Promise.all([this.#files.removeJob(job), this.#logs.finish(job)]))
      .then(() => undefined)
      .catch((error: unknown) => this.#options.log.warn('a job’s files remain', { job, reason: reasonOf(error) }))
      .finally(() => this.#removals.delete(removal));
    this.#removals.add(removal);
  }

  #startHost({ slot, host, spec }: EventOf<'HostStarted'>): void {
    const artifacts = this.#jobArtifacts.get(spec.name);
    invariant(artifacts !== undefined, `model and code of ${spec.name} are not here`);
    this.#hosts.start(slot, host, spec, artifacts);
    this.#logs.watch(spec.name);
  }

  #startAttempt({ slot, host, work, timeoutMs }: EventOf<'AttemptStarted' | 'AttemptQueued'>): void {
    const lease = this.#state.leases.get(work);
    invariant(lease !== undefined, `work ${work} is started but not held`);
    const { first, token, attempt, columns } = lease;
    const count = lease.files.length;
    const order = { slot, host, work, timeoutMs, first, count, token, attempt, columns };
    this.#hosts.score(order, this.#works.inputsOf(work), ({ summary, body, hasFiles, shadow }, isQuiet) => {
      const { rows, custom } = body;
      // What was taken back from the host's queue has been scored all the same, and may be on another slot by now.
      const isWanted = givenLease(this.#state, slot, host, work) !== undefined;
      if (isWanted) this.#works.keep(work, body);
      else this.#works.drop(body);
      if (hasFiles && isWanted) this.#customHosts.set(work, host);
      else if (hasFiles) this.#hosts.discredit(host);
      const parts = { bytes: rows.bytes, crc32: rows.crc32, customBytes: custom.bytes, customCrc32: custom.crc32 };
      const result = { summary, ...parts, ...(shadow && { shadow }) };
      return { kind: 'scored', slot, host, work, result, isQuiet };
    });
  }

  #forget({ work, reason }: EventOf<'Forgotten'>): void {
    const host = this.#customHosts.get(work);
    this.#customHosts.delete(work);
    if (host !== undefined && reason !== 'committed') this.#hosts.discredit(host);
    this.#works.forget(work);
  }

  /** The end of everything, once. */
  async #finish(error: unknown): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = true;
    if (this.#wake) clearTimeout(this.#wake);
    if (this.#turnEnd) clearImmediate(this.#turnEnd);
    if (this.#wakeLook) clearImmediate(this.#wakeLook);
    this.#over.abort(new Error('the worker node ends'));
    try {
      if (error === null) await this.#control?.end();
      await this.#hosts.close(error === null ? 'stop' : 'kill');
      // The connection outlives the hosts for what they said last.
      await this.#logs.close();
      this.#closeLink();
      await this.#works.close();
      await Promise.all(this.#removals);
      // A node that never joined has nothing there; what is there may be a live one's of the same name.
      await this.#swept;
      if (this.#swept) await this.#files.sweep();
    } catch (failure) {
      this.#options.log.warn('the worker node could not tidy up', { reason: reasonOf(failure) });
    }
    if (error === null) {
      // A node that was told to leave before it had joined has not failed.
      this.#joined.resolve();
      this.#closed.resolve();
    } else {
      this.#joined.reject(error);
      this.#closed.reject(error);
    }
  }
}

/** Null: the node was told to have none, or is of a coordinator that nobody else can reach. */
function artifactPeers(
  { address, peers, request, trust, random, log }: WorkerShellOptions,
  link: () => BulkLink | null,
  signal: AbortSignal,
): ArtifactPeers | null {
  if (peers === false || address.startsWith('unix:')) return null;
  // Nodes of one machine are found where their coordinator is.
  const host = isLoopback(parseAddress(address, 'HOST:PORT').host) ? '127.0.0.1' : null;
  return new ArtifactPeers({ self: request.name, link, trust, host, random, delay, log, signal });
}
