/**
 * What must hold at every step of a simulated coordinator, and from one of its processes to the next, whatever its disk
 * has kept: nothing that was promised is taken back, and a replay gives what was lived through.
 */
import type { Command } from '../../coordinator/core/commands.ts';
import { formatToken, type Token } from '../../common/core/token.ts';
import type { JobName, NodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { hasParts } from '../../common/core/parts-form.ts';
import { noBatch } from '../../coordinator/core/batch-table.ts';
import type { Event, EventOf } from '../../coordinator/core/events.ts';
import { evolve } from '../../coordinator/core/evolve.ts';
import { partialOutputName } from '../../coordinator/core/generation.ts';
import { isGranting } from '../../coordinator/core/granting.ts';
import { imageOf, restoreImage } from '../../coordinator/core/ledger-image.ts';
import { newLedger, type Job, type Ledger, type Lease, type Node } from '../../coordinator/core/ledger.ts';
import { partsJobName } from '../../coordinator/core/parts.ts';
import { isStaged, stagedIn } from '../../coordinator/core/staging-window.ts';
import type { Engine, EngineViews } from '../../coordinator/engine.ts';
import type { JobWork } from '../../coordinator/job-work.ts';
import { decodeImage, encodeImage } from '../../coordinator/journal/image-bytes.ts';
import { Watermarks } from '../../coordinator/views/watermarks.ts';
import { isQuiet, ledgerDigest } from '../helpers/ledger-digest.ts';
import type { SimDisk } from './disk.ts';
import { PartsCount } from './parts-count.ts';
import { TurnCheck } from './turn-check.ts';
import type { World } from './world.ts';

/** A node as it is, whatever the coordinator believes. */
export interface Holder {
  readonly name: NodeName;
  isScoring(token: Token): boolean;
}

export interface InvariantsOptions {
  readonly world: World;
  readonly disk: SimDisk;
  readonly job: Job['name'];
  readonly outputDir: string;
  /** Of the file of rows. */
  readonly rowsName: string;
  readonly stagingBytesMax: number;
  readonly nodes: () => readonly Holder[];
  /** Since when a message of the node is there to which the coordinator has not come, although the network is there; or Infinity. */
  readonly waitingSince: (node: NodeName) => number;
  /** The coordinator's time, less what it stood still. */
  readonly attended: () => number;
  /** The servers have lost messages that they had acknowledged; null: there is no stream. */
  readonly hasLost: (() => boolean) | null;
  /** Whether the journal's stream has the record, written in that epoch; null: there is no stream. */
  readonly isInStream: ((sequence: number, epoch: number) => boolean) | null;
  /** A start without records that were acknowledged, from a stream that lost some; `isKnown`: its own disk has had them. */
  readonly onLoss: ((isKnown: boolean) => void) | null;
  /** Otherwise it only follows how far the job is: what is wrong in a run was found in another one that did the same. */
  readonly isChecking: boolean;
}

/** One process of a coordinator, from its replay on. */
interface Watch {
  readonly ledger: Ledger;
  /** Of whose disk. */
  readonly identity: number;
  /** The ledger as it was opened, and what was appended since. */
  readonly base: Buffer;
  readonly baseSequence: number;
  readonly appended: Event[];
  readonly watermarks: Watermarks;
  readonly awaited: Set<NodeName>;
  readonly openedAt: number;
  /** Up to here the journal has told that it is on the disk. */
  synced: number;
  /** What each group of records ended with, as it was told. */
  readonly groups: number[];
  isAlive: boolean;
  /** With what its successor has read of it; Infinity: there is none. */
  successorAt: number;
}

/** A result of which somebody was told that it is committed. */
interface Promised {
  readonly job: JobName;
  readonly batch: number;
  readonly token: string;
}

/** By then nobody has anything left of a trouble: a lease, a keepalive, a few latencies. */
const healedMs = 40_000;
/** More of the same says nothing new. */
const faultsMax = 20;
/** Clocks go at most 2 % too fast. */
const graceMs = limits.restartGraceMs * 0.97;

export class Invariants {
  readonly faults: string[] = [];
  /** Events of each kind that have become durable. */
  readonly counts = new Map<Event['kind'], number>();
  /** Mini-batches that had a second attempt beside the first. */
  twins = 0;
  /** Grants to nodes that leave at a known time. */
  endingGrants = 0;
  /** Grants while the window of staged results was full. */
  heldBack = 0;
  /** Processes that came while another one still thought that it leads. */
  takeovers = 0;
  /** Snapshots that a start was loaded from. */
  snapshotsLoaded = 0;
  /** Ends of the job that are durable. */
  lives = 0;
  isPruned = false;
  /** What comes now is known to be wrong, and whose fault that is. */
  isMuted = false;
  readonly parts: PartsCount = new PartsCount();
  readonly turns: TurnCheck = new TurnCheck((text) => this.fault(text));
  readonly #options: InvariantsOptions;
  /** The last process that came so far: the one that leads while it is there. */
  #watch: Watch | null = null;
  readonly #others = new Map<Ledger, Watch>();
  /** Who has granted in an epoch. */
  readonly #granters = new Map<number, Watch>();
  #promised: Promised[] = [];
  #final = { generation: 1, bytes: Buffer.alloc(0), length: 0 };
  readonly #troubledUntil = new Map<NodeName | null, number>();
  /** Mini-batches by the tokens under which they were given out. */
  readonly #batches = new Map<string, { readonly job: JobName; readonly batch: number }>();
  /** Whether there has been a job. */
  #hasBeen = false;
  /** Mini-batches of each job that were committed once, even if that was taken back. */
  readonly #committed = new Map<JobName, Set<number>>();

  constructor(options: InvariantsOptions) {
    this.#options = options;
  }

  /** Nothing waits for the journal. */
  get isDurable(): boolean {
    const watch = this.#watch;
    return watch === null || watch.synced >= watch.baseSequence + watch.appended.length;
  }

  /** Whether nobody has come after the process with this ledger. */
  leads(ledger: Ledger): boolean {
    return this.#watch?.ledger === ledger;
  }

  get #ledger(): Ledger | null {
    return this.#watch?.isAlive === true ? this.#watch.ledger : null;
  }

  fault(text: string): void {
    if (this.isMuted) return;
    if (this.faults.length < faultsMax && !this.faults.includes(text)) this.faults.push(text);
  }

  /** Something keeps the node from the coordinator until then, or the coordinator from all nodes (null). */
  trouble(node: NodeName | null, untilMs: number): void {
    this.#troubledUntil.set(node, Math.max(this.#troubledUntil.get(node) ?? 0, untilMs));
  }

  /** A process has replayed its journal and done nothing else. */
  opened(engine: Engine<EngineViews>, identity = 0): void {
    const { loop, journal } = engine;
    const { ledger } = loop;
    const sequence = journal.syncedSequence;
    if (journal.recovery.snapshot > 0) this.snapshotsLoaded += 1;
    this.#checkRecovered(ledger, sequence, identity);
    const { isChecking } = this.#options;
    const watch: Watch = {
      ...{
        ledger,
        base: isChecking ? bytesOf(ledger) : Buffer.alloc(0),
        baseSequence: sequence,
        appended: [],
        synced: sequence,
      },
      ...{ groups: [], identity },
      ...{ watermarks: new Watermarks(ledger), awaited: new Set(ledger.known), openedAt: this.#options.world.now },
      ...{ isAlive: true, successorAt: Infinity },
    };
    if (this.#watch) this.#watch.successorAt = sequence;
    if (this.#watch?.isAlive === true) {
      this.takeovers += 1;
      this.#forgetBroken(this.#watch.ledger);
    }
    this.#watch = watch;
    this.#others.set(ledger, watch);
    if (isChecking) this.#checkPromised(ledger);
    if (isChecking) this.#checkSuccess();
    const job = ledger.jobs.get(this.#options.job);
    this.lives = job ? job.reopenings + (job.isSealed ? 1 : 0) : this.lives;
    this.isPruned = !job && this.#hasBeen;
    this.#hasBeen ||= job !== undefined;

    const { append } = journal;
    journal.append = (record) => {
      const event = record as Event;
      watch.appended.push(event);
      // Another incarnation has come in its place, or it is waited for no longer.
      if (event.kind === 'NodeUnknown') watch.awaited.delete(event.node);
      return append.call(journal, record);
    };
    const { synced } = loop;
    loop.synced = (upTo) => {
      this.#checkSynced(watch, upTo);
      watch.synced = upTo;
      watch.groups.push(upTo);
      synced.call(loop, upTo);
    };
    if (isChecking) this.#check(engine, watch);
  }

  /** Looks at whatever this process does. */
  #check({ loop, nodes, work }: Engine<EngineViews>, watch: Watch): void {
    const { ledger } = watch;
    const { handle } = loop;
    loop.handle = (command: Command) => {
      if (watch !== this.#watch) return handle.call(loop, command);
      const isStale = command.kind === 'result' && command.token.epoch !== ledger.epoch;
      const placed = isStale ? [...ledger.leases.values()].map((lease) => lease.placed) : [];
      const present = command.kind === 'tick' ? [...ledger.nodes.values()].filter(isPresent) : [];
      const suspects = new Set(present.filter(({ state }) => state === 'suspect').map(({ name }) => name));
      handle.call(loop, command);
      for (const { name } of present) {
        if (ledger.nodes.get(name)?.state === 'lost') this.#checkLost(name, suspects.has(name));
      }
      if (isStale && [...ledger.leases.values()].some((lease) => lease.placed && !placed.includes(lease.placed))) {
        this.fault(`a result under the stale token ${formatToken(command.token)} was taken`);
      }
      this.#checkStaged();
      this.turns.looked(ledger);
      if (command.kind === 'tick') this.turns.ticked(ledger, this.#options.attended());
    };
    const { restore } = work;
    work.restore = async () => {
      await restore.call(work);
      if (watch === this.#watch) this.#checkCut(work);
    };
    const { grant, adopt, tell, receive } = nodes;
    const remember = (token: Token): void => {
      const lease = ledger.leases.get(token.counter);
      if (lease) this.#batches.set(formatToken(token), { job: lease.job, batch: lease.batch });
    };
    nodes.grant = (effect) => {
      this.#checkGranter(watch, effect.token);
      if (watch !== this.#watch) return grant.call(nodes, effect);
      remember(effect.token);
      this.#checkGrant(effect.token);
      this.turns.granted(ledger, effect.token, this.#options.attended());
      grant.call(nodes, effect);
    };
    nodes.adopt = (effect) => {
      if (watch !== this.#watch) return adopt.call(nodes, effect);
      remember(effect.token);
      this.#checkHolders(effect.token);
      adopt.call(nodes, effect);
    };
    nodes.tell = (node, part) => {
      if (watch === this.#watch) for (const token of part.recalled ?? []) this.#checkRecall(ledger, token);
      for (const token of part.committed ?? []) this.#promise(formatToken(token), watch);
      tell.call(nodes, node, part);
    };
    nodes.receive = (link, message, inline) => {
      if (message.hello) watch.awaited.delete(link.node);
      receive.call(nodes, link, message, inline);
    };
  }

  /** Its files are what the ledger says. */
  restored(): void {
    this.#checkFinal();
  }

  /** Of what was written and not committed, nothing is left behind a start; where that did not succeed, the job is about to fail for it. */
  #checkCut(work: JobWork): void {
    const job = this.#job;
    if (job && work.filesOf(job.name)?.damage) return;
    const content = job && !job.isSealed ? this.#output(job) : null;
    if (job && content && content.length > job.outputCommitted && job.state !== 'Finalizing')
      this.fault(`an output of ${content.length} bytes was not cut to the ${job.outputCommitted} that are committed`);
  }

  /** By the process with this ledger. */
  publish(event: Event, ledger: Ledger): void {
    const { isChecking } = this.#options;
    if (isChecking && event.kind === 'Committed') this.#noteCommitted(event);
    // Whoever has come after it knows it by what it has read.
    if (!this.leads(ledger)) return;
    this.counts.set(event.kind, (this.counts.get(event.kind) ?? 0) + 1);
    this.#options.world.note(event.kind);
    if (isChecking) this.#watch?.watermarks.publish(event);
    this.parts.publish(event);
    if (isChecking && event.kind === 'LeaseReleased') this.#checkRelease(event);
    else if (event.kind === 'JobSubmitted') this.#hasBeen ||= event.job === this.#options.job;
    else if (event.kind === 'JobSealed') this.lives += event.job === this.#options.job ? 1 : 0;
    else if (event.kind === 'JobPruned') return this.#forget(event.job);
    if (isChecking) this.#follow();
  }

  #noteCommitted({ job, batch }: EventOf<'Committed'>): void {
    const committed = this.#committed.get(job) ?? new Set();
    this.#committed.set(job, committed.add(batch));
  }

  #forget(name: JobName): void {
    this.isPruned ||= name === this.#options.job;
    this.#promised = this.#promised.filter(({ job }) => job !== name);
    this.#committed.delete(name);
  }

  /** The process is about to be killed. */
  dies(ledger: Ledger): void {
    const watch = this.#others.get(ledger);
    if (!watch) return;
    this.#others.delete(ledger);
    if (this.#options.isChecking) this.#checkReplay(watch);
    watch.isAlive = false;
    if (watch === this.#watch) this.#forgetBroken(ledger);
  }

  /** What was taken back while it ran (results with other columns, a job that is scored again) is no promise any more. */
  #forgetBroken(ledger: Ledger): void {
    this.#promised = this.#promised.filter((one) => isKept(ledger, one));
  }

  /** The journal, with what is not synced yet, gives the ledger that this process has. */
  checkReplay(): void {
    if (this.#options.isChecking && this.#watch?.isAlive === true) this.#checkReplay(this.#watch);
  }

  #checkReplay(watch: Watch): void {
    const { ledger } = watch;
    const replayed = this.#replayed(watch, watch.appended.length);
    const withCursor = isQuiet(ledger);
    const text = (one: Ledger): string => JSON.stringify(ledgerDigest(one, { withCursor }));
    const [a, b] = [text(ledger), text(replayed)];
    if (a !== b) this.fault(`a replay gives ${difference(b, a)}`);
  }

  /** Also when a job has ended. */
  checkFinal(): void {
    this.#checkFinal();
  }

  #replayed({ base, appended }: Watch, events: number): Ledger {
    const ledger = newLedger({ heartbeatMs: null, stagingBytesMax: this.#options.stagingBytesMax });
    restoreImage(ledger, decodeImage(Buffer.from(base)));
    for (const event of appended.slice(0, events)) evolve(ledger, event);
    return ledger;
  }

  /** A start has all that was synced, nothing that was not appended, and the ledger that these records give. */
  #checkRecovered(ledger: Ledger, sequence: number, identity: number): void {
    const before = this.#watch;
    if (before === null) return;
    const { synced, baseSequence, appended } = before;
    const { onLoss } = this.#options;
    // One group beyond what the stream has may never have been acknowledged; of more than one the disk tells.
    if (sequence < synced && onLoss)
      onLoss(before.identity === identity && before.groups.filter((end) => end > sequence).length > 1);
    if (sequence < synced) this.fault(`${synced} records were on the disk, a start found ${sequence}`);
    const events = sequence - baseSequence;
    // Where the servers have lost what had fenced another one off, a late group of that one may have been stored since.
    if (events > appended.length) onLoss?.(false);
    if (events < 0 || events > appended.length) {
      this.fault(`a start found ${sequence} records, there were ${baseSequence + appended.length}`);
      return;
    }
    if (!this.#options.isChecking) return;
    const [found, wanted] = [bytesOf(ledger), bytesOf(this.#replayed(before, events))];
    if (!found.equals(wanted))
      this.fault(`a start gives ${difference(found.toString('latin1'), wanted.toString('latin1'))}`);
  }

  /** It is in the stream, as this process wrote it, and nobody has gone on without it. */
  #checkSynced(watch: Watch, upTo: number): void {
    const { isInStream } = this.#options;
    // What fenced another one off may be among what was lost; whoever reads what both have written then tells.
    if (this.#options.hasLost?.()) return;
    if (upTo > watch.successorAt)
      this.fault(
        `record ${upTo} is acknowledged, and another coordinator has gone on from record ${watch.successorAt}`,
      );
    if (isInStream && !isInStream(upTo, watch.ledger.epoch))
      this.fault(`record ${upTo} is acknowledged and not in the stream`);
  }

  /** No two processes grant in one epoch: the tokens of one would be taken for the other's. */
  #checkGranter(watch: Watch, { epoch }: Token): void {
    const granter = this.#granters.get(epoch) ?? watch;
    this.#granters.set(epoch, granter);
    if (granter !== watch) this.fault(`two coordinators grant in epoch ${epoch}`);
  }

  #checkPromised(ledger: Ledger): void {
    const job = ledger.jobs.get(this.#options.job);
    if (!job && this.isPruned) return;
    for (const one of this.#promised) {
      if (!isKept(ledger, one))
        this.fault(`mini-batch ${one.batch} was told to be committed under ${one.token} and is lost`);
    }
  }

  /** A node is told that its result is committed, and forgets it. Of what is scored again since, it may be told all the same. */
  #promise(token: string, watch: Watch): void {
    const of = this.#batches.get(token);
    const batches = of && this.#ledger?.jobs.get(of.job)?.batches;
    if (!of || batches?.state(of.batch) !== 'committed') return;
    const one = { ...of, token };
    // Of one that has a successor it may come after that one has taken it back.
    if (watch === this.#watch || (this.#ledger && isKept(this.#ledger, one))) this.#promised.push(one);
  }

  #isWell(node: NodeName): boolean {
    const until = Math.max(this.#troubledUntil.get(node) ?? 0, this.#troubledUntil.get(null) ?? 0);
    return this.#options.world.now > until + healedMs;
  }

  /** Nothing was wrong with the node, nor with its way to the coordinator, for longer than a lease. */
  #checkLost(node: NodeName, wasSuspect: boolean): void {
    if (this.#isWell(node)) this.fault(`${node} is well and can be reached, and is lost`);
    const since = this.#options.waitingSince(node);
    const { now } = this.#options.world;
    // What a suspect says at the very instant of the second look is too late.
    if (wasSuspect ? since < now : since <= now)
      this.fault(`${node} is lost while what it said is waiting to be heard`);
  }

  /** An output is called complete only when the journal knows that it will be. */
  #checkSuccess(): void {
    const job = this.#job;
    const { disk, outputDir } = this.#options;
    if (!job || disk.content(`${outputDir}/_SUCCESS`) === null || job.sealedGeneration > 0) return;
    if (job.state !== 'Finalizing' && job.state !== 'Completed')
      this.fault(`_SUCCESS beside a job that is ${job.state}`);
  }

  /** Bytes before the watermark are final: it never goes back, and what lies before it never changes. */
  #follow(): void {
    const job = this.#job;
    if (!job || !this.#watch) return;
    if (job.generation !== this.#final.generation) {
      this.#final = { generation: job.generation, bytes: Buffer.alloc(0), length: 0 };
    }
    const mark = this.#watch.watermarks.of(job);
    const { length } = this.#final;
    if (mark === length) return;
    if (mark < length) return this.fault(`the watermark goes back from ${length} to ${mark}`);
    const content = this.#output(job);
    if (!content && this.#mayBeGone(job)) return;
    if (!content || content.length < mark) {
      return this.fault(`bytes up to ${mark} are told to be final, ${content?.length ?? 'no'} are there`);
    }
    if (this.#final.bytes.length < mark) {
      const grown = Buffer.alloc(2 * mark);
      this.#final.bytes.copy(grown);
      this.#final.bytes = grown;
    }
    content.copy(this.#final.bytes, length, length, mark);
    this.#final.length = mark;
  }

  #checkFinal(): void {
    if (!this.#options.isChecking) return;
    const job = this.#job;
    const { generation, bytes, length } = this.#final;
    if (!job || job.generation !== generation || length === 0) return;
    const mark = this.#watch?.watermarks.of(job) ?? 0;
    if (mark < length) this.fault(`bytes up to ${length} were told to be final, after a restart ${mark}`);
    const content = this.#output(job);
    if (!content && this.#mayBeGone(job)) return;
    if (!content || !content.subarray(0, length).equals(bytes.subarray(0, length)))
      this.fault(`of ${length} bytes that were told to be final some are others now`);
  }

  /** Until it is sealed the output has another name. */
  #output(job: Job): Buffer | null {
    const { disk, outputDir, rowsName } = this.#options;
    const partial = disk.content(`${outputDir}/${partialOutputName(rowsName, job.generation)}`);
    return partial ?? disk.content(`${outputDir}/${rowsName}`);
  }

  /** Once all parts are made, nobody needs the rows that they were made from. */
  #mayBeGone(job: Job): boolean {
    if (!hasParts(job.deployment.settings) || job.failedFiles > 0) return false;
    return job.state === 'Completed' || this.#ledger?.jobs.get(partsJobName(job.name))?.state === 'Finalizing';
  }

  #leased(token: Token): readonly [Job | undefined, Lease | undefined] {
    const lease = this.#ledger?.leases.get(token.counter);
    return [lease && this.#ledger?.jobs.get(lease.job), lease];
  }

  get #job(): Job | undefined {
    return this.#ledger?.jobs.get(this.#options.job);
  }

  #checkGrant(token: Token): void {
    this.#checkGranting('granted', this.#ledger?.leases.get(token.counter)?.job);
    const { awaited, openedAt } = this.#watch as Watch;
    if (awaited.size > 0 && this.#options.world.now < openedAt + graceMs) {
      this.fault(`a lease was granted before ${[...awaited].join(', ')} came back`);
    }
    this.#checkHolders(token);
    this.#checkWindow(token);
    this.#checkHead(token);
    this.#checkEnd(token);
  }

  /** Nothing is begun on a node that is about to leave. */
  #checkEnd(token: Token): void {
    const ledger = this.#ledger;
    const [, lease] = this.#leased(token);
    const endsAt = (lease && ledger?.nodes.get(lease.node)?.endsAt) ?? null;
    if (!ledger || !lease || endsAt === null) return;
    this.endingGrants += 1;
    const leftMs = endsAt - (lease.grantedAt + ledger.stallMs);
    if (leftMs <= limits.leaveReserveMs) this.fault(`${lease.node} leaves in ${leftMs} ms and was granted a lease`);
  }

  /** What the output waits for is not passed over, unless it is better tried on another node. */
  #checkHead(token: Token): void {
    const [job, lease] = this.#leased(token);
    if (!job || !lease || job.cursor === noBatch || job.avoided.has(job.cursor)) return;
    const state = job.batches.state(job.cursor);
    if (state !== 'pending' && state !== 'uncut') return;
    this.fault(`mini-batch ${lease.batch} was granted before the head of the order`);
  }

  /** A started lease ends by its own result or failure, or because its twin is committed. */
  #checkRelease({ job, batch, node, token, isRevoked }: EventOf<'LeaseReleased'>): void {
    // What it was given may have been on its way for longer than anybody waits to hear of it.
    const isScoring =
      this.#isWell(node) && this.#options.nodes().some((one) => one.name === node && one.isScoring(token));
    const isCommitted = this.#committed.get(job)?.has(batch) === true;
    if (isRevoked && isScoring && !isCommitted && this.#ledger?.jobs.get(job)?.sick.has(node) !== true)
      this.fault(`${node} is at mini-batch ${batch} and loses it`);
  }

  /** Beyond the window, only what staged results wait for: the head of the order, or what comes before one of them. */
  #checkWindow(token: Token): void {
    const ledger = this.#ledger;
    const [job, lease] = this.#leased(token);
    if (!job || !ledger || !lease || ledger.stagedBytes < this.#options.stagingBytesMax) return;
    this.heldBack += 1;
    let isAwaited = lease.batch === job.cursor;
    for (let batch = job.batches.next(lease.batch); batch !== noBatch && !isAwaited; batch = job.batches.next(batch)) {
      isAwaited = job.batches.state(batch) === 'committed' && isStaged(job, job.batches.place(batch).segment);
    }
    if (!isAwaited) this.fault(`mini-batch ${lease.batch} was granted beyond the window`);
  }

  /** What is counted as staged is what is staged. */
  #checkStaged(): void {
    let sum = 0;
    for (const job of this.#ledger?.jobs.values() ?? []) {
      const { bytes, to } = stagedIn(job);
      sum += bytes;
      if (job.stagedBytes === bytes && job.stagedTo === to) continue;
      const counted = `${job.stagedBytes}, ${job.stagedTo}`;
      this.fault(`bytes and end of what is staged of ${job.name}: ${counted} instead of ${bytes}, ${to}`);
    }
    const all = this.#ledger?.stagedBytes ?? 0;
    if (all !== sum) this.fault(`bytes of what is staged: ${all} instead of ${sum}`);
  }

  #checkRecall(ledger: Ledger, token: Token): void {
    this.turns.recalled(ledger, token);
    // For a job of a higher priority it may be taken from one that is paused or comes to its end.
    if (ledger.leases.get(token.counter)?.isPreempted !== true)
      this.#checkGranting('recalled', this.#batches.get(formatToken(token))?.job);
  }

  /** Nothing of a job that is paused, comes to its end or has no place for results. */
  #checkGranting(what: string, name: JobName | undefined): void {
    const ledger = this.#ledger;
    const job = name === undefined ? undefined : ledger?.jobs.get(name);
    if (!job || !ledger) return;
    if (job.rowsOf !== null && ledger.jobs.get(job.rowsOf)?.isPaused === true)
      this.fault(`a lease of parts of a paused job was ${what}`);
    if (isGranting(ledger, job)) return;
    this.fault(`a lease of ${job.isPaused ? 'a paused job' : `a job that is ${job.state}`} was ${what}`);
  }

  /** At most two attempts at one mini-batch, on different nodes. */
  #checkHolders(token: Token): void {
    const ledger = this.#ledger;
    const [job, lease] = this.#leased(token);
    const holders = (lease && job?.holders.get(lease.batch)) ?? [];
    const nodes = new Set(holders.map((counter) => ledger?.leases.get(counter)?.node));
    if (holders.length > 1) this.twins += 1;
    if (holders.length > 2 || nodes.size < holders.length)
      this.fault(`mini-batch ${lease?.batch} has ${holders.length} attempts on ${[...nodes].join(' and ')}`);
  }
}

function isPresent({ state }: Node): boolean {
  return state !== 'lost' && state !== 'gone';
}

function isKept(ledger: Ledger, { job: name, batch, token }: Promised): boolean {
  const job = ledger.jobs.get(name);
  return job !== undefined && batch < job.batches.count && formatToken(job.batches.token(batch)) === token;
}

/** As a snapshot has them. */
function bytesOf(ledger: Ledger): Buffer {
  return Buffer.concat([...encodeImage(imageOf(ledger))]);
}

function difference(found: string, wanted: string): string {
  let at = 0;
  while (found[at] === wanted[at]) at += 1;
  const part = (text: string): string => text.slice(Math.max(0, at - 60), at + 60);
  return `${part(found)} instead of ${part(wanted)}`;
}
