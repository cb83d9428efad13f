/** Loads a scoring script, and says where it is wrong when it cannot be loaded. */
import { existsSync, readdirSync } from 'node:fs';
import Module, { createRequire, register } from 'node:module';
import { delimiter, join, sep } from 'node:path';
import { pathToFileURL } from 'node:url';
import { inspect } from 'node:util';
import { BatchError } from '../../common/core/batch-error.ts';
import { compiledFile, packageFile } from '../../common/io/package-files.ts';

/** What a script exports, by name or as the properties of its default export. */
export interface ScriptModule {
  readonly init: (() => unknown) | null;
  readonly run: (miniBatch: string[], context: ScriptContext) => unknown;
  readonly shutdown: (() => unknown) | null;
}

/** Second argument of run(). */
export interface ScriptContext {
  /** Relative paths in the input of the files of the mini-batch, in its order. */
  readonly names: readonly string[];
  /** The model's file or folder; null without a model. */
  readonly modelPath: string | null;
  /** Folder for files that the script writes by itself (AZUREML_BI_OUTPUT_PATH). */
  readonly outputDir: string;
}

/** Imports `script` of the code folder. Throws SCRIPT_INVALID with the place and the line where it is wrong. */
export async function loadScript(codeDir: string, script: string): Promise<ScriptModule> {
  const path = join(codeDir, script);
  if (!existsSync(path)) {
    const found = existsSync(codeDir) ? readdirSync(codeDir).sort().join(', ') : 'nothing';
    throw new BatchError('SCRIPT_INVALID', `the code folder has no ${script}; it holds ${found || 'nothing'}`);
  }
  registerHooks();
  const exported = await importScript(codeDir, script, path);
  return pick(script, exported);
}

function registerHooks(): void {
  process.setSourceMapsEnabled(true);
  register(pathToFileURL(compiledFile('worker', 'scorers', 'script-hooks.js')));
  // The same second place for require() in CommonJS, which hooks do not reach. Node reads NODE_PATH only at its start;
  // this is how it is read again.
  const places = createRequire(packageFile('package.json')).resolve.paths('esbuild') ?? [];
  process.env['NODE_PATH'] = [process.env['NODE_PATH'], ...places].filter(Boolean).join(delimiter);
  (Module as unknown as { _initPaths?: () => void })._initPaths?.();
}

async function importScript(codeDir: string, script: string, path: string): Promise<Record<string, unknown>> {
  try {
    return (await import(pathToFileURL(path).href)) as Record<string, unknown>;
  } catch (error) {
    const place = isSyntaxError(error) ? await findSyntaxError(codeDir, path) : null;
    const words = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    throw new BatchError('SCRIPT_INVALID', place ?? `${script} cannot be imported: ${words}`, {
      cause: error,
      detail: place === null ? inspect(error) : '',
    });
  }
}

/** Of Node for JavaScript, or of esbuild for TypeScript, which crosses the hooks' thread as a plain error with its list. */
function isSyntaxError(error: unknown): boolean {
  return error instanceof SyntaxError || (error instanceof Error && error.message.startsWith('Transform failed'));
}

/**
 * `file:line:column: text` and the line itself, of the first error in the script or in a neighbour that it imports.
 * Node's error for a module does not say where, so the code is read once more by a parser that does.
 */
async function findSyntaxError(codeDir: string, path: string): Promise<string | null> {
  const { build } = await import('esbuild');
  const options = { bundle: true, write: false, platform: 'node', format: 'esm', packages: 'external' } as const;
  const failure = await build({ ...options, entryPoints: [path], absWorkingDir: codeDir, logLevel: 'silent' }).then(
    () => null,
    (error: unknown) => error,
  );
  const [first] = (failure as { errors?: readonly SyntaxProblem[] } | null)?.errors ?? [];
  if (!first?.location) return null;
  const { file, line, column, lineText } = first.location;
  return `${file.split(sep).join('/')}:${line}:${column + 1}: ${first.text}\n  ${lineText.trim().slice(0, 200)}`;
}

interface SyntaxProblem {
  readonly text: string;
  readonly location: {
    readonly file: string;
    readonly line: number;
    /** From 0, in bytes. */
    readonly column: number;
    readonly lineText: string;
  } | null;
}

function pick(script: string, exported: Record<string, unknown>): ScriptModule {
  const inner = exported['default'];
  const byDefault = typeof inner === 'object' && inner !== null ? (inner as Record<string, unknown>) : {};
  const take = (name: string): unknown => exported[name] ?? byDefault[name];
  const wanted = (name: string): ((...args: unknown[]) => unknown) | null => {
    const value = take(name);
    if (value === undefined || value === null) return null;
    if (typeof value !== 'function') {
      throw new BatchError('SCRIPT_INVALID', `${script} exports ${name} as ${typeof value}, not as a function`);
    }
    // Called on the default object, so that `this` is what its author expects.
    return (value as (...args: unknown[]) => unknown).bind(exported[name] === undefined ? inner : undefined);
  };
  const run = wanted('run');
  if (run === null) {
    const names = [...new Set([...Object.keys(exported), ...Object.keys(byDefault)])].join(', ');
    throw new BatchError(
      'SCRIPT_INVALID',
      `${script} must export a function run(miniBatch); it exports ${names || 'nothing'}`,
    );
  }
  return { run, init: wanted('init'), shutdown: wanted('shutdown') };
}
