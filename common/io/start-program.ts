/**
 * Starts a bundled program with the code that V8 made of it the last time. Compiling it anew is half of what a short command
 * costs, and Node 20 keeps the code of no module.
 *
 * A module of the bundle is a script in CommonJS. Beside it lies its code, a file for each V8, with the checksums of both: V8
 * looks at neither, and would run into the ground on damaged code. What is not there, not whole, or of another text is
 * compiled as ever, and written when the process ends, where that is allowed.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { cachedDataVersionTag } from 'node:v8';
import { Script } from 'node:vm';
import { crc32 } from 'node:zlib';

/** What a module of the bundle is called with. */
type ModuleBody = (
  require: NodeJS.Require,
  module: BundledModule,
  exports: unknown,
  importMetaUrl: string,
  importOutside: (id: string) => Promise<unknown>,
) => void;

const moduleHead = '(function (require, module, exports, importMetaUrl, importOutside) {';

/** Packages outside the bundle, and scripts of the user by their URL. */
const importOutside = async (id: string): Promise<unknown> => (await import(id)) as unknown;

interface BundledModule {
  exports: unknown;
}

/** A module whose code is not kept yet. */
interface Unkept {
  readonly script: Script;
  readonly codePath: string;
  readonly textChecksum: number;
}

/** Checksums of text and code. */
const headBytes = 8;

function atExit(end: () => void): void {
  process.on('exit', end);
}

/**
 * Runs the module at `entry`, relative to the file whose URL is `from`, and what it needs; `atEnd` is given what is to be done
 * when the process ends.
 */
export function startProgram(from: string, entry: string, atEnd: (end: () => void) => void = atExit): void {
  const modules = new Map<string, BundledModule>();
  const unkept: Unkept[] = [];
  const load = (path: string): unknown => {
    const known = modules.get(path);
    if (known !== undefined) return known.exports;
    const module: BundledModule = { exports: {} };
    modules.set(path, module);
    const { script, missing } = compiled(path);
    if (missing !== null) unkept.push(missing);
    const body = script.runInThisContext() as ModuleBody;
    body(requireFor(path, load), module, module.exports, pathToFileURL(path).href, importOutside);
    return module.exports;
  };
  atEnd(() => unkept.forEach(keep));
  load(join(dirname(fileURLToPath(from)), entry));
}

/** Other modules of the bundle have relative names. */
function requireFor(path: string, load: (path: string) => unknown): NodeJS.Require {
  const dir = dirname(path);
  const outside = createRequire(path);
  return Object.assign((id: string) => (id.startsWith('.') ? load(join(dir, id)) : (outside(id) as unknown)), outside);
}

function compiled(path: string): { readonly script: Script; readonly missing: Unkept | null } {
  // The bundler writes ASCII alone.
  const text = readFileSync(path, 'latin1');
  const textChecksum = crc32(text);
  const codePath = `${path}.${cachedDataVersionTag().toString(16)}.code`;
  const cachedData = keptCode(codePath, textChecksum);
  const kept = cachedData === null ? {} : { cachedData };
  const script = new Script(`${moduleHead}${text}\n})`, { filename: path, ...kept });
  const isKept = cachedData !== null && script.cachedDataRejected !== true;
  return { script, missing: isKept ? null : { script, codePath, textChecksum } };
}

/** Null: there is none of this text. */
function keptCode(codePath: string, textChecksum: number): Buffer | null {
  try {
    const bytes = readFileSync(codePath);
    const code = bytes.subarray(headBytes);
    const isWhole = bytes.length > headBytes && bytes.readUInt32LE(4) === crc32(code);
    return isWhole && bytes.readUInt32LE(0) === textChecksum ? code : null;
  } catch {
    return null;
  }
}

/** With the functions that this process has called. */
function keep({ script, codePath, textChecksum }: Unkept): void {
  const code = script.createCachedData();
  const head = Buffer.alloc(headBytes);
  head.writeUInt32LE(textChecksum, 0);
  head.writeUInt32LE(crc32(code), 4);
  const unfinished = `${codePath}.${process.pid}.tmp`;
  try {
    writeFileSync(unfinished, Buffer.concat([head, code]));
    renameSync(unfinished, codePath);
  } catch {
    // Somebody else's installation, one that nobody may change, a full disk: the next start compiles as this one did.
  }
}
