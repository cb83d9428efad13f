/** The built-in scorer for ONNX models: rows of all files of a mini-batch go through the model together. */
import { readdirSync, statSync } from 'node:fs';
import { basename, extname, join } from 'node:path';
import type { Table } from 'apache-arrow';
import type { InferenceSession, Tensor } from 'onnxruntime-node';
import { BatchError } from '../../common/core/batch-error.ts';
import type { OutputFormat, Scorer } from '../../common/core/deployment.ts';
import type { HostFile, HostInit } from '../../common/core/host-protocol.ts';
import { limits } from '../../common/core/limits.ts';
import type { OnnxSettings } from '../../common/core/onnx-settings.ts';
import { featuresDifference, isSameSchema, type FileFailure, type ResultSchema } from '../../common/core/result.ts';
import { defaultOutputForm, type OutputForm } from '../../common/core/output-form.ts';
import type { Carried, CarriedColumn } from '../../common/format/carried-columns.ts';
import { typeText } from '../../common/format/column-type.ts';
import { openRowEncoder, type RowEncoder } from '../../common/format/row-encoder.ts';
import { systemClock } from '../../common/io/clock.ts';
import { easeCollector } from '../../common/io/collector.ts';
import { CallSizer } from './call-sizer.ts';
import { CarriedRows, layoutOf, type CarriedForm } from './carried-rows.ts';
import type { FileReader, InputCells } from './file-rows.ts';
import type { HostScorer, Scored, ScorePort } from './host-scorer.ts';
import { openImageReader } from './image-reader.ts';
import { describePlan, describeValue, planInputs, type InputPlan, type ModelValue } from './onnx-inputs.ts';
import {
  leftOut,
  openTableMaker,
  planOutputs,
  type OutputPlan,
  type OutputTensor,
  type TableMaker,
} from './onnx-outputs.ts';
import { openSession } from './onnx-session.ts';
import { RowBatch, type BatchSpan, type ModelCall } from './row-batch.ts';
import { SpareCells } from './spare-cells.ts';
import { openTableReader } from './table-reader.ts';

/** A model that is loaded, and what it was found to take and give. */
interface Model {
  readonly run: (call: ModelCall) => Promise<Readonly<Record<string, OutputTensor>>>;
  readonly inputs: InputPlan;
  readonly outputs: OutputPlan;
  /** It runs where a call's tensors are best held by a processor's caches. */
  readonly isOnProcessor: boolean;
  readonly close: () => Promise<void>;
}

/**
 * Loads the model. Throws MODEL_INVALID with the loader's words, MODEL_UNSUPPORTED when its inputs are neither images nor
 * columns of tables, its outputs no tensors, or the settings do not fit it.
 */
export async function openOnnxScorer(host: HostInit, scorer: Extract<Scorer, { kind: 'onnx' }>): Promise<HostScorer> {
  if (host.modelPath === null) throw new BatchError('MODEL_INVALID', 'the deployment has no model to score with');
  // Files and pixels of a mini-batch lie beside the heap.
  easeCollector();
  // Loaded beside the model, which takes about as long; an error comes out where it is awaited again.
  import('apache-arrow').catch(() => undefined);
  const { settings } = scorer;
  const say = host.settings.loggingLevel === 'warning' ? () => undefined : (text: string) => console.log(text);
  const model = await openModel(findModel(host.modelPath), host, settings, say);
  say(describePlan(model.inputs));
  const form = host.settings.outputForm ?? defaultOutputForm;
  const reader = openReader(model.inputs, settings, form);
  const { batch } = model.inputs;
  const sizer = new CallSizer({
    rowsMax: settings.batchRows ?? limits.modelRunRowsMax,
    learned: host.callSize ?? null,
    // Somebody who says how many rows has tried.
    climbs: settings.batchRows === null && !model.isOnProcessor,
    isCuttable: batch === null,
    now: () => systemClock.monotonic(),
    say,
  });
  const makeTable = await openTableMaker(model.outputs, {
    fileColumn: form.fileColumn ?? 'file',
    rowColumn: form.rowColumn ?? (reader.hasRowNumbers ? 'row' : null),
    batch,
  });
  const format = host.settings.outputFormat;
  const encoder = await openRowEncoder(format, form);
  const lasting = { model, sizer, reader, spare: new SpareCells(), makeTable, encoder, settings, format, form };
  return {
    score: (files, port, columns) => new Scoring({ ...lasting, files, port, columns }).score(),
    close: () => model.close(),
  };
}

/** The model file itself, or the only `.onnx` file at the top of a model folder. */
function findModel(path: string): string {
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) return path;
  const names = readdirSync(path).sort();
  const models = names.filter((name) => extname(name).toLowerCase() === '.onnx');
  const [only] = models;
  if (only !== undefined && models.length === 1) return join(path, only);
  const found = models.length === 0 ? `none among ${names.join(', ') || 'no files'}` : models.join(', ');
  throw new BatchError(
    'MODEL_INVALID',
    `the model folder ${basename(path)} must hold one .onnx file; it holds ${found}`,
  );
}

async function openModel(
  path: string,
  host: HostInit,
  settings: OnnxSettings,
  say: (text: string) => void,
): Promise<Model> {
  const { ort, session, provider } = await openSession(path, settings.providers, host.settings.loggingLevel, say);
  const given = valuesOf(session.outputMetadata);
  const outputs = planOutputs(given, settings);
  for (const value of leftOut(given)) {
    say(`output ${describeValue(value)}, left out; export the model without ZipMap (zipmap=False) to have it`);
  }
  const tensorOf = ({ type, cells, dims }: InputCells, rows: number): Tensor =>
    new ort.Tensor(type as 'float32', cells as Float32Array, [rows, ...dims]);
  return {
    inputs: planInputs(valuesOf(session.inputMetadata), settings),
    outputs,
    isOnProcessor: provider === 'cpu',
    run: async (call) => {
      const feeds = call.inputs.map((input) => [input.name, tensorOf(input, call.rows)] as const);
      return (await session.run(Object.fromEntries(feeds), outputs.names)) as Record<string, OutputTensor>;
    },
    close: () => session.release(),
  };
}

function valuesOf(metadata: readonly InferenceSession.ValueMetadata[]): ModelValue[] {
  return metadata.map((value) =>
    value.isTensor ? value : { name: value.name, isTensor: false, type: 'no tensor', shape: [] },
  );
}

function openReader(plan: InputPlan, { missing }: OnnxSettings, { inputColumns: carried }: OutputForm): FileReader {
  if (plan.kind === 'table') return openTableReader({ plan, missing, ...(carried === undefined ? {} : { carried }) });
  if (carried === undefined) return openImageReader(plan);
  throw new BatchError(
    'MODEL_UNSUPPORTED',
    'output.include asks for columns of the input, but this model is fed images, which have none; take input out of it',
  );
}

/** Columns of a table of results that say where a row comes from: the file, the row in it. */
const placeColumns = 2;

interface ScoringOptions {
  readonly model: Model;
  readonly sizer: CallSizer;
  readonly reader: FileReader;
  readonly spare: SpareCells;
  readonly makeTable: TableMaker;
  readonly settings: OnnxSettings;
  readonly encoder: RowEncoder;
  readonly files: readonly HostFile[];
  readonly port: ScorePort;
  readonly format: OutputFormat;
  readonly form: OutputForm;
  readonly columns: readonly string[] | null;
}

type OpenedFile = ReturnType<FileReader['read']>;

/** Rows that came out of the model, held until their files are read to the end. */
interface HeldRows {
  readonly table: Table;
  readonly spans: readonly BatchSpan[];
}

/** Columns of an input file, read to its end. */
interface CarriedFile {
  readonly rows: number;
  readonly columns: readonly CarriedColumn[];
  readonly layout: string;
}

/** One mini-batch on its way through the model. */
class Scoring {
  readonly #options: ScoringOptions;
  readonly #batch: RowBatch;
  readonly #failed: FileFailure[] = [];
  readonly #fileRows: number[];
  #held: HeldRows[] = [];
  /** Place of the file that was opened last. */
  #opened = 0;
  readonly #carried = new Map<number, CarriedFile>();
  /** Of the first file that has any: what those of others are widened to, as long as nobody says. */
  #carriedFirst: readonly CarriedColumn[] | null = null;
  #schema: ResultSchema | null = null;
  readonly #features = new Map<number, readonly string[]>();

  constructor(options: ScoringOptions) {
    this.#options = options;
    this.#fileRows = options.files.map(() => 0);
    const { batchRows } = options.settings;
    const { inputs, isOnProcessor } = options.model;
    const { sizer, spare } = options;
    // Somebody who says how many rows has seen that they fit.
    const isFree = batchRows === null;
    const bytesMax = isOnProcessor ? limits.modelRunBytesMax : limits.modelRunDeviceBytesMax;
    this.#batch = new RowBatch({
      batch: inputs.batch,
      get rowsMax() {
        return sizer.rows;
      },
      bytesMax: isFree ? bytesMax : Infinity,
      cachedBytes: isFree && isOnProcessor ? limits.modelRunCachedBytes : Infinity,
      rowsMin: limits.modelRunRowsMin,
      spare,
    });
  }

  async score(): Promise<Scored> {
    const { files, reader } = this.#options;
    const opened: OpenedFile[] = [];
    for (const [index, file] of files.entries()) {
      // The model blocks this thread while it runs, not those that decode: what comes next is handed to them before.
      for (let next = index + opened.length; next < files.length && opened.length < reader.filesAheadMax; next += 1) {
        opened.push(this.#open(next));
      }
      await this.#scoreFile(index, file, opened.shift() as OpenedFile);
      await this.#release();
    }
    await this.#run(this.#batch.flush());
    await this.#release();
    const callSize = this.#options.sizer.takeLearned();
    return {
      ...(callSize !== null && { callSize }),
      rows: this.#fileRows.reduce((sum, rows) => sum + rows, 0),
      attribution: 'file',
      fileRows: this.#fileRows,
      failed: this.#failed,
      schema: this.#schema,
    };
  }

  #open(index: number): OpenedFile {
    const { port, reader, files } = this.#options;
    this.#opened = index;
    port.begin(index, true);
    return reader.read(files[index] as HostFile, () => port.begin(index));
  }

  /** A file that cannot be read to its end leaves no row, also where some of its rows are through the model already. */
  async #scoreFile(index: number, file: HostFile, opened: OpenedFile): Promise<void> {
    try {
      this.#checkKind(file);
      const carried = new CarriedRows();
      let first = 0;
      for await (const added of opened) {
        if (added.features) this.#features.set(index, added.features);
        if (added.carried && added.carried.length > 0) carried.add(added.rows, added.carried);
        await this.#run(this.#batch.add(index, first, added));
        first += added.rows;
      }
      if (carried.rows === 0) return;
      const columns = carried.close(file.name, this.#carriedForm());
      this.#carriedFirst ??= columns;
      this.#carried.set(index, { rows: carried.rows, columns, layout: layoutOf(columns) });
    } catch (error) {
      if (!(error instanceof BatchError && error.rule.category === 'input')) throw error;
      this.#batch.drop(index);
      this.#failed.push({ index, code: error.code, message: error.message });
    }
  }

  #checkKind(file: HostFile): void {
    const { extensions } = this.#options.reader;
    if (extensions.includes(extname(file.name).toLowerCase())) return;
    throw new BatchError(
      'INPUT_UNSUPPORTED',
      `${file.name} is not of a kind that this model is fed: ${extensions.join(' ')}`,
    );
  }

  async #run(calls: readonly ModelCall[]): Promise<void> {
    const { port, model, sizer, spare } = this.#options;
    for (const whole of calls) {
      port.begin(this.#opened);
      for (const { call, outputs } of await sizer.run(whole, model.run)) this.#hold(call.spans, outputs);
      // onnxruntime hands over outputs in memory of their own.
      for (const input of whole.lent) spare.give(input);
    }
  }

  #hold(spans: readonly BatchSpan[], outputs: Readonly<Record<string, OutputTensor>>): void {
    const named = spans.map((span) => {
      const { name = '', part } = this.#options.files[span.fileIndex] ?? {};
      return { ...span, file: name, first: span.first + (part?.row ?? 0) };
    });
    this.#held.push({ table: this.#options.makeTable(outputs, named), spans });
  }

  /** Emits the rows that are held; called between files, so that each is either read to its end or failed. */
  async #release(): Promise<void> {
    const held = this.#held;
    this.#held = [];
    for (const { table, spans } of held) {
      for (const good of this.#goodParts(table, spans)) {
        const carried = this.#carriedIn(good.spans);
        const encoded = this.#options.encoder.table(good.table, { columns: this.#told(), carried });
        const features = this.#features.get(good.spans[0]?.fileIndex ?? -1);
        this.#schema = sameSchema(this.#schema, withFeatures(encoded.schema, features));
        await this.#options.port.emit(encoded.pieces);
        this.#forget(good.spans);
      }
    }
  }

  /** Runs of rows without those of failed files, each of files whose columns are alike; counts them. */
  #goodParts(table: Table, spans: readonly BatchSpan[]): HeldRows[] {
    const isFailed = new Set(this.#failed.map((failure) => failure.index));
    const runs: { from: number; to: number; layout: string; spans: BatchSpan[] }[] = [];
    let at = 0;
    for (const span of spans) {
      const { fileIndex, rows } = span;
      const from = at;
      at += rows;
      if (isFailed.has(fileIndex)) continue;
      this.#fileRows[fileIndex] = (this.#fileRows[fileIndex] ?? 0) + rows;
      const layout = JSON.stringify([this.#carried.get(fileIndex)?.layout, this.#features.get(fileIndex)]);
      const run = runs.at(-1);
      if (run?.to === from && run.layout === layout) {
        run.to = at;
        run.spans.push(span);
      } else {
        runs.push({ from, to: at, layout, spans: [span] });
      }
    }
    return runs.map(({ from, to, spans: own }) => ({
      table: to - from === table.numRows ? table : table.slice(from, to),
      spans: own,
    }));
  }

  /** Columns of the input for rows of files that are alike; null where none are asked for. */
  #carriedIn(spans: readonly BatchSpan[]): Carried | null {
    const [head] = spans;
    const alike = head && this.#carried.get(head.fileIndex);
    if (!alike) return null;
    const starts: number[] = [];
    spans.reduce((sum, { rows }) => (starts.push(sum), sum + rows), 0);
    const files = spans.map(({ fileIndex }) => this.#carried.get(fileIndex) as CarriedFile);
    const columns = alike.columns.map(({ name, type }, place): CarriedColumn => {
      let at = 0;
      const cell = (row: number): unknown => {
        while (row < (starts[at] as number)) at -= 1;
        while (at + 1 < starts.length && row >= (starts[at + 1] as number)) at += 1;
        const { first } = spans[at] as BatchSpan;
        return (files[at] as CarriedFile).columns[place]?.cell(first + row - (starts[at] as number));
      };
      return { name, type, cell };
    });
    return { place: placeColumns, columns };
  }

  /** What has left is not held any longer. */
  #forget(spans: readonly BatchSpan[]): void {
    for (const { fileIndex, first, rows } of spans) {
      if (first + rows === this.#carried.get(fileIndex)?.rows) this.#carried.delete(fileIndex);
    }
  }

  /** What rows are widened to: the job's columns, or those that this mini-batch began with. */
  #told(): readonly string[] | null {
    const { columns, form } = this.#options;
    return columns ?? (form.evolves ? (this.#schema?.columns ?? null) : null);
  }

  #carriedForm(): CarriedForm {
    const { format, form, columns } = this.#options;
    const first = form.evolves ? this.#carriedFirst : null;
    return {
      format,
      form,
      told: columns ?? first?.map(({ name, type }) => `${name}:${type && typeText(type)}`) ?? null,
    };
  }
}

/** Rows without names of columns have a schema where the order of features is to be told. */
function withFeatures(schema: ResultSchema | null, features: readonly string[] | undefined): ResultSchema | null {
  return features === undefined ? schema : { ...(schema ?? { columns: [], prologue: '' }), features };
}

/** The mini-batch fails as a whole where its files differ: alone, each is held against the first rows of the job. */
function sameSchema(before: ResultSchema | null, found: ResultSchema | null): ResultSchema | null {
  if (before === null || found === null) return before ?? found;
  if (isSameSchema(before, found)) return before;
  const features = featuresDifference(before, found);
  if (features !== null) throw new BatchError('RESULT_SCHEMA_MISMATCH', `files of one mini-batch: ${features}`);
  throw new BatchError(
    'RESULT_SCHEMA_MISMATCH',
    `files of one mini-batch have the columns ${before.columns.join(', ')} and ${found.columns.join(', ')}; ` +
      'name those to keep in output.include, declare their types in output.schema, or let it be `evolve`',
  );
}
