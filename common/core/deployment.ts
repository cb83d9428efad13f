/**
 * A deployment as the rest of the program knows it: read from YAML, a bare model or a bare script by common/config,
 * with every default filled in. Nothing here is optional.
 */
import type { Digest } from './ids.ts';
import type { OnnxSettings } from './onnx-settings.ts';
import type { OutputForm } from './output-form.ts';
import type { PartsForm } from './parts-form.ts';

/**
 * What the output file is. `azure`: space-separated text, no header. `csv`: comma, header. `jsonl`: one JSON object a line.
 * `arrow`: an Arrow IPC stream.
 */
export const outputFormats = ['azure', 'csv', 'jsonl', 'arrow'] as const;
export type OutputFormat = (typeof outputFormats)[number];
/** Those that are lines of text. */
export type TextFormat = Exclude<OutputFormat, 'arrow'>;

/** How a mini-batch is cut from the input order. */
export type MiniBatchSize =
  | { readonly kind: 'files'; readonly files: number }
  | { readonly kind: 'bytes'; readonly bytes: number }
  /** As many files as take about so long. */
  | { readonly kind: 'seconds'; readonly seconds: number }
  /** The same, and how long follows from the work that is left. */
  | { readonly kind: 'auto' };

/**
 * Whether large tables are shared out in parts. `auto`: where rows are scored apart in any case, in parts of a size that suits;
 * `bytes`: in parts of about that size.
 */
export type SplitFiles =
  /** `partBytes`: what suited when the job was submitted, whatever its settings are now. */
  | { readonly kind: 'auto'; readonly partBytes?: number }
  | { readonly kind: 'off' }
  | { readonly kind: 'bytes'; readonly bytes: number };

/** What turns files into rows. */
export type Scorer =
  /** The built-in ONNX scorer. */
  | { readonly kind: 'onnx'; readonly settings: OnnxSettings }
  /** An MLflow model without a script: the Python host calls its `predict`, `rowsPerPredict` rows at a time (null: a file). */
  | { readonly kind: 'mlflow'; readonly rowsPerPredict: number | null }
  /** `init()` and `run(mini_batch)` in Python; `script` is relative to the code folder. */
  | { readonly kind: 'python'; readonly script: string }
  /** The same in JavaScript or TypeScript. */
  | { readonly kind: 'node'; readonly script: string }
  /** Makes the parts of an output from rows that were scored; no deployment file names it. */
  | EncodeScorer;

/** `rows` is the format of what it reads; `metadata` goes into files that have a place for it. */
export interface EncodeScorer {
  readonly kind: 'encode';
  readonly parts: PartsForm;
  readonly rows: OutputFormat;
  readonly metadata: Readonly<Record<string, string>>;
}

/** A file or a folder that a scorer needs, on the machine that reads the deployment. */
export interface LocalArtifact {
  readonly kind: 'file' | 'folder';
  /** Absolute. */
  readonly path: string;
}

/** The same, sealed: what a worker node localises, by digest. */
export interface Artifact {
  readonly kind: 'file' | 'folder';
  /** Basename under which a scorer finds it. */
  readonly name: string;
  /** Of the bytes of a file; of the canonical list of files of a folder. */
  readonly digest: Digest;
  readonly bytes: number;
  /** What it is registered as: `azureml:mnist:3`. Absent: it was not named. */
  readonly asset?: string;
}

/** Sealed already, or still to be. */
export type ArtifactSource = LocalArtifact | Artifact;

/** Which Python runs the scorer. Ignored by scorers that need none. */
export type EnvironmentSpec =
  /** An interpreter that is there already; null: whichever the worker node was started with. */
  | { readonly kind: 'host'; readonly python: string | null }
  /** Made by each worker node once from the text of a conda file. */
  | { readonly kind: 'conda'; readonly conda: CondaSpec }
  /** A container image, with what the conda file adds to it. */
  | { readonly kind: 'image'; readonly image: string; readonly conda: CondaSpec | null };

/** A conda environment file, with nothing in it that points elsewhere on the disk. */
export interface CondaSpec {
  /** What people call it: the file's or the environment's name. */
  readonly name: string;
  readonly yaml: string;
  /** Of `yaml` in canonical form: equal digests are one environment. */
  readonly digest: Digest;
}

/**
 * Files that user code writes to AZUREML_BI_OUTPUT_PATH. `collected`: a folder of the host's own, whose new bytes belong to
 * the attempt and are published when it commits. `shared`: the output folder itself, without that guarantee.
 */
export type CustomOutput = 'collected' | 'shared';

export interface DeploymentSettings {
  readonly miniBatchSize: MiniBatchSize;
  /** Absent in jobs of releases that kept all files whole: off. */
  readonly splitFiles?: SplitFiles;
  /** Tries in all, at least 1. @source Azure ML retry_settings.max_retries, counted as tries */
  readonly triesMax: number;
  /** Of one run() on one mini-batch, without init() and loading. */
  readonly timeoutMs: number;
  /** The job fails when more files than this have failed; −1 never. @source Azure ML error_threshold */
  readonly errorThreshold: number;
  /** `file`: a failing mini-batch is bisected down to the file. `mini_batch`: all its files fail together (Azure). */
  readonly isolation: 'file' | 'mini_batch';
  readonly outputAction: 'append_row' | 'summary_only';
  readonly outputFileName: string;
  readonly outputFormat: OutputFormat;
  /** Absent in jobs of releases that had none: the default. */
  readonly outputForm?: OutputForm;
  /** Null or absent: one file of rows as they were scored. */
  readonly parts?: PartsForm | null;
  readonly loggingLevel: 'debug' | 'info' | 'warning';
  readonly environmentVariables: Readonly<Record<string, string>>;
  /** Caps; null: every node, every slot. @source Azure ML resources.instance_count, max_concurrency_per_instance */
  readonly instanceCountMax: number | null;
  readonly concurrencyPerInstanceMax: number | null;
  /** False skips sub-folders of the input. */
  readonly recursive: boolean;
  /** Glob patterns for input files, unless the job brings its own; absent in deployments of older releases. */
  readonly include?: readonly string[];
  readonly exclude?: readonly string[];
  /** Rows of files that are still the same are taken from the last job's output, and kept for the next one. Absent: false. */
  readonly incremental?: boolean;
  readonly customOutput: CustomOutput;
  /** Of one scoring host with all that it started; null: no limit. */
  readonly memoryBytesMax: number | null;
  /** GPUs of one scoring host: a share of one, or whole ones; null or absent: one for each host as far as they go. */
  readonly gpu?: number | null;
  /** Labels that worker nodes must have, all of them; absent: any will do. */
  readonly require?: Readonly<Record<string, string>>;
  /** Scoring hosts wait for the next job of the deployment; null or absent: those of the built-in ONNX scorer do, others do not. */
  readonly keepWarm?: boolean | null;
  /** `off`: no second attempt runs beside a straggler, for scripts whose side effects must not overlap. */
  readonly speculation: 'auto' | 'off';
  /** The job fails when no attempt of it has ended for so long; null: from tries and timeout. @source Azure ML progress_update_timeout */
  readonly progressTimeoutMs: number | null;
}

interface DeploymentOf<A> {
  readonly name: string;
  readonly scorer: Scorer;
  readonly model: A | null;
  readonly code: A | null;
  readonly environment: EnvironmentSpec;
  readonly settings: DeploymentSettings;
}

/** As resolved by common/config, before anything was read or hashed. */
export type LocalDeployment = DeploymentOf<ArtifactSource>;
/** As a job carries it: every artifact by digest. */
export type Deployment = DeploymentOf<Artifact>;
