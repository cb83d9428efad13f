/** The built-in scorer for ONNX models: rows of all files of a mini-batch go through the model together. */
import { readdirSync, statSync } from 'node:fs';
import { basename, extname, join } from 'node:path';
import type { Table } from 'apache-arrow';
import type { InferenceSession, Tensor } from 'onnxruntime-node';
import { BatchError } from '../../common/core/batch-error.ts';
import type { Scorer } from '../../common/core/deployment.ts';
import type { HostFile, HostInit } from '../../common/core/host-protocol.ts';
import { limits } from '../../common/core/limits.ts';
import type { FileFailure, ResultSchema } from '../../common/core/result.ts';
import { encodeTable } from '../../common/format/arrow-text.ts';
import { reasonOf } from '../../common/io/errno.ts';
import { openCsvReader } from './csv-reader.ts';
import type { FileReader, InputCells } from './file-rows.ts';
import type { HostScorer, Scored, ScorePort } from './host-scorer.ts';
import { openImageReader } from './image-reader.ts';
import { planInputs, type InputPlan, type ModelValue } from './onnx-inputs.ts';
import { openTableMaker, planOutputs, type OutputPlan, type OutputTensor, type TableMaker } from './onnx-outputs.ts';
import { RowBatch, type BatchSpan, type ModelCall } from './row-batch.ts';

/** A model that is loaded, and what it was found to take and give. */
interface Model {
  readonly run: (call: ModelCall) => Promise<Readonly<Record<string, OutputTensor>>>;
  readonly inputs: InputPlan;
  readonly outputs: OutputPlan;
  readonly close: () => Promise<void>;
}

/**
 * Loads the model. Throws MODEL_INVALID with the loader's words, MODEL_UNSUPPORTED when its inputs are neither images nor
 * columns of CSV files or its outputs no tensors.
 */
export async function openOnnxScorer(host: HostInit, scorer: Extract<Scorer, { kind: 'onnx' }>): Promise<HostScorer> {
  if (host.modelPath === null) throw new BatchError('MODEL_INVALID', 'the deployment has no model to score with');
  // Loaded beside the model, which takes about as long; an error comes out where it is awaited again.
  import('apache-arrow').catch(() => undefined);
  const model = await openModel(findModel(host.modelPath), host.settings.loggingLevel);
  const reader = await openReader(model.inputs, scorer.settings.image.scale);
  const { batch } = model.inputs;
  const makeTable = await openTableMaker(model.outputs, { hasRowNumbers: reader.hasRowNumbers, batch });
  return {
    score: (files, port) => new Scoring({ model, reader, makeTable, host, files, port }).score(),
    close: () => model.close(),
  };
}

/** The model file itself, or the only `.onnx` file of a model folder. */
function findModel(path: string): string {
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) return path;
  const names = readdirSync(path, { recursive: true, encoding: 'utf8' }).sort();
  const models = names.filter((name) => extname(name).toLowerCase() === '.onnx');
  const [only] = models;
  if (only !== undefined && models.length === 1) return join(path, only);
  const found = models.length === 0 ? `none among ${names.join(', ') || 'no files'}` : models.join(', ');
  throw new BatchError(
    'MODEL_INVALID',
    `the model folder ${basename(path)} must hold one .onnx file; it holds ${found}`,
  );
}

async function openModel(path: string, level: HostInit['settings']['loggingLevel']): Promise<Model> {
  const ort = await import('onnxruntime-node');
  const session = await ort.InferenceSession.create(path, {
    // One host is one slot: the machine's cores are shared out by the worker node.
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    logSeverityLevel: level === 'debug' ? 1 : 3,
  }).catch((error: unknown) => {
    const words = reasonOf(error).replaceAll(path, basename(path));
    throw new BatchError('MODEL_INVALID', `the model ${basename(path)} cannot be loaded: ${words}`, { cause: error });
  });
  const outputs = planOutputs(valuesOf(session.outputMetadata));
  const tensorOf = ({ type, cells, dims }: InputCells, rows: number): Tensor =>
    new ort.Tensor(type as 'float32', cells as Float32Array, [rows, ...dims]);
  return {
    inputs: planInputs(valuesOf(session.inputMetadata)),
    outputs,
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

function openReader(plan: InputPlan, scale: number): Promise<FileReader> | FileReader {
  return plan.kind === 'image' ? openImageReader(plan, scale) : openCsvReader(plan);
}

interface ScoringOptions {
  readonly model: Model;
  readonly reader: FileReader;
  readonly makeTable: TableMaker;
  readonly host: HostInit;
  readonly files: readonly HostFile[];
  readonly port: ScorePort;
}

/** Rows that came out of the model, held until their files are read to the end. */
interface HeldRows {
  readonly table: Table;
  readonly spans: readonly BatchSpan[];
}

/** One mini-batch on its way through the model. */
class Scoring {
  readonly #options: ScoringOptions;
  readonly #batch: RowBatch;
  readonly #failed: FileFailure[] = [];
  readonly #fileRows: number[];
  #held: HeldRows[] = [];
  #schema: ResultSchema | null = null;

  constructor(options: ScoringOptions) {
    this.#options = options;
    this.#fileRows = options.files.map(() => 0);
    this.#batch = new RowBatch({
      batch: options.model.inputs.batch,
      rowsMax: limits.modelRunRowsMax,
      bytesMax: limits.modelRunBytesMax,
    });
  }

  async score(): Promise<Scored> {
    for (const [index, file] of this.#options.files.entries()) {
      this.#options.port.begin(index);
      await this.#scoreFile(index, file);
      await this.#release();
    }
    await this.#run(this.#batch.flush());
    await this.#release();
    return {
      rows: this.#fileRows.reduce((sum, rows) => sum + rows, 0),
      attribution: 'file',
      fileRows: this.#fileRows,
      failed: this.#failed,
      schema: this.#schema,
    };
  }

  /** A file that cannot be read to its end leaves no row, also where some of its rows are through the model already. */
  async #scoreFile(index: number, file: HostFile): Promise<void> {
    try {
      this.#checkKind(file);
      let first = 0;
      for await (const added of this.#options.reader.read(file)) {
        await this.#run(this.#batch.add(index, first, added));
        first += added.rows;
      }
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
    for (const call of calls) {
      const outputs = await this.#options.model.run(call);
      const spans = call.spans.map((span) => ({ ...span, file: this.#options.files[span.fileIndex]?.name ?? '' }));
      this.#held.push({ table: this.#options.makeTable(outputs, spans), spans });
    }
  }

  /** Emits the rows that are held; called between files, so that each is either read to its end or failed. */
  async #release(): Promise<void> {
    const held = this.#held;
    this.#held = [];
    for (const { table, spans } of held) {
      for (const good of this.#goodParts(table, spans)) {
        const encoded = encodeTable(good, this.#options.host.settings.outputFormat);
        this.#schema ??= encoded.schema;
        await this.#options.port.emit(encoded.pieces);
      }
    }
  }

  /** The table without the rows of failed files; counts the others. */
  #goodParts(table: Table, spans: readonly BatchSpan[]): Table[] {
    const isFailed = new Set(this.#failed.map((failure) => failure.index));
    const parts: Table[] = [];
    let from = 0;
    let to = 0;
    for (const { fileIndex, rows } of spans) {
      if (isFailed.has(fileIndex)) {
        if (to > from) parts.push(table.slice(from, to));
        from = to + rows;
      } else {
        this.#fileRows[fileIndex] = (this.#fileRows[fileIndex] ?? 0) + rows;
      }
      to += rows;
    }
    if (to > from) parts.push(from === 0 ? table : table.slice(from, to));
    return parts;
  }
}
