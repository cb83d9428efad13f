/**
 * Reads a conda environment file and makes it whole: requirement files that it names are put in its place, what points to this
 * disk is refused, and the rest is written in one canonical form, so that equal environments have equal digests.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { dirname, relative, resolve } from 'node:path';
import { stringify } from 'yaml';
import type { CondaSpec } from '../core/deployment.ts';
import { digest } from '../core/ids.ts';
import { limits } from '../core/limits.ts';
import { kindOf, type ConfigProblem, type ConfigSource, type KeyPath } from './config-source.ts';
import { nearestWord } from './nearest-word.ts';
import { localText, logicalLines, normalName, parsePipLine, type PipLine } from './pip-line.ts';
import { parseReference } from './reference.ts';

export interface CondaRequest {
  readonly source: ConfigSource;
  /** Where the file's mapping stands in `source`; empty for a file of its own. */
  readonly at: KeyPath;
  /** Folder that paths in it start from, absolute. */
  readonly baseDir: string;
  /** What it is called when it does not say. */
  readonly fallbackName: string;
  /** What relative paths in messages start from. */
  readonly cwd: string;
  readonly onNote: (text: string) => void;
}

const knownKeys = ['name', 'channels', 'dependencies', 'prefix', 'variables', 'platforms', 'category'];

/** The environment in canonical form, or null after adding to `problems`. */
export async function readConda(
  value: unknown,
  request: CondaRequest,
  problems: ConfigProblem[],
): Promise<CondaSpec | null> {
  const reader = new CondaReader(request, problems);
  const before = problems.length;
  const spec = await reader.read(value);
  return problems.length > before ? null : spec;
}

/** The canonical form of channels and dependencies; the name is no part of it. */
function condaSpec(
  name: string,
  channels: readonly string[],
  packages: readonly string[],
  pip: readonly string[],
): CondaSpec {
  const content = { channels, dependencies: [...packages, ...(pip.length === 0 ? [] : [{ pip }])] };
  const hash = createHash('sha256').update(JSON.stringify(content)).digest('hex');
  return { name, yaml: stringify(content, { lineWidth: 0 }), digest: digest(`sha256:${hash}`) };
}

/** The minor version of Python that the environment asks for (12 for `python=3.12`), or null. */
export function pythonMinorOf(conda: CondaSpec): number | null {
  const found = /^ *- "?(?:[\w.-]+::)?python\s*[=~<>]*\s*3\.(\d+)/im.exec(conda.yaml)?.[1];
  return found === undefined ? null : Number(found);
}

class CondaReader {
  readonly #request: CondaRequest;
  readonly #problems: ConfigProblem[];

  constructor(request: CondaRequest, problems: ConfigProblem[]) {
    this.#request = request;
    this.#problems = problems;
  }

  async read(value: unknown): Promise<CondaSpec | null> {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      return this.#fail([], `wanted a conda file with dependencies, found ${kindOf(value)}`);
    }
    const file = value as Readonly<Record<string, unknown>>;
    this.#noteKeys(file);
    const name = this.#name(file['name']);
    const channels = this.#channels(file['channels'] ?? []);
    const { dependencies } = file;
    if (!Array.isArray(dependencies)) {
      const near = nearestWord(
        'dependencies',
        Object.keys(file).filter((key) => !knownKeys.includes(key)),
      );
      const hint = near === null ? '' : `; did you mean that by ${near}?`;
      const message = `wanted dependencies, a list of packages, found ${kindOf(dependencies)}${hint}`;
      const { source, at } = this.#request;
      return near === null
        ? this.#fail(['dependencies'], message)
        : this.#failAt(source.locate([...at, near], 'key'), message);
    }
    const packages: string[] = [];
    const pip: string[] = [];
    for (const [index, item] of dependencies.entries()) {
      const path = ['dependencies', String(index)];
      if (typeof item === 'string') this.#package(item, path, packages);
      else await this.#pipList(item, path, pip);
    }
    const spec = condaSpec(name, channels, packages, pip);
    if (spec.yaml.length <= limits.condaYamlCharsMax) return spec;
    return this.#fail(
      [],
      `wanted at most ${limits.condaYamlCharsMax} characters with all requirement files, found ${spec.yaml.length}`,
    );
  }

  #noteKeys(file: Readonly<Record<string, unknown>>): void {
    const { onNote, source, at } = this.#request;
    if (file['variables']) {
      onNote(
        `${source.locate([...at, 'variables'], 'key')}: variables are not set: give environment_variables instead`,
      );
    }
    const strange = Object.keys(file).filter((key) => !knownKeys.includes(key) && file[key] !== null);
    if (strange.length > 0)
      onNote(`${source.locate([...at, strange[0] ?? ''], 'key')}: ${strange.join(', ')} has no effect`);
  }

  #name(value: unknown): string {
    const name = typeof value === 'string' || typeof value === 'number' ? String(value).trim() : '';
    return (name === '' ? this.#request.fallbackName : name).slice(0, 255);
  }

  #channels(value: unknown): readonly string[] {
    if (!Array.isArray(value)) {
      this.#fail(['channels'], `wanted channels, a list of names, found ${kindOf(value)}`);
      return [];
    }
    return value.flatMap((item: unknown, index) => {
      const path = ['channels', String(index)];
      if (typeof item !== 'string' || item.trim() === '') {
        this.#fail(path, `wanted the name or the URL of a channel, found ${kindOf(item)}`);
        return [];
      }
      if (/^([./~]|file:)/.test(item)) this.#fail(path, localText(item));
      return [item.trim()];
    });
  }

  #package(item: string, path: KeyPath, packages: string[]): void {
    const text = item.trim();
    const isUrl = /^https?:\/\//.test(text);
    if (/^([./~]|file:)/.test(text)) this.#fail(path, localText(text));
    else if (!isUrl && !/^(?:[^\s:[\]]+::)?[a-z0-9_][\w.-]*\s*(?:\[[^\]]*\]\s*)?(?:$|[=<>!~\d*].*$)/i.test(text)) {
      this.#fail(path, `wanted a package, such as numpy=1.26, found ${kindOf(item)}`);
    } else packages.push(text);
  }

  async #pipList(item: unknown, path: KeyPath, pip: string[]): Promise<void> {
    const keys = typeof item === 'object' && item !== null && !Array.isArray(item) ? Object.keys(item) : [];
    if (keys.length !== 1 || keys[0] !== 'pip') {
      this.#fail(
        path,
        `wanted a package or a list with the name pip, found ${keys.length > 0 ? keys.join(', ') : kindOf(item)}`,
      );
      return;
    }
    const list = (item as { readonly pip: unknown }).pip ?? [];
    if (!Array.isArray(list)) {
      this.#fail([...path, 'pip'], `wanted a list of requirements, found ${kindOf(list)}`);
      return;
    }
    const constraints: string[] = [];
    for (const [index, entry] of list.entries()) {
      const at = [...path, 'pip', String(index)];
      if (typeof entry !== 'string') {
        this.#fail(at, `wanted a requirement, such as pandas==2.2.3, found ${kindOf(entry)}`);
        continue;
      }
      const place = this.#request.source.locate([...this.#request.at, ...at], 'value');
      await this.#pipLine(parsePipLine(entry), { place, baseDir: this.#request.baseDir, open: [] }, pip, constraints);
    }
    this.#addConstraints(pip, constraints);
  }

  async #pipLine(line: PipLine, from: LineFrom, pip: string[], constraints: string[]): Promise<void> {
    switch (line.kind) {
      case 'nothing':
        return;
      case 'local':
        return void this.#failAt(from.place, localText(line.text));
      case 'requirement':
        return void pip.push(line.text);
      case 'include':
        return await this.#include(line, from, line.isConstraint ? constraints : pip, constraints);
    }
  }

  async #include(
    line: PipLine & { kind: 'include' },
    from: LineFrom,
    into: string[],
    constraints: string[],
  ): Promise<void> {
    if (parseReference(line.file).kind !== 'path') {
      this.#failAt(from.place, `${line.file} is not a local file: download it and name it by its path`);
      return;
    }
    const file = resolve(from.baseDir, line.file);
    if (from.open.includes(file)) return void this.#failAt(from.place, `${line.file} includes itself`);
    let text: string;
    try {
      text = await readFile(file, 'utf8');
    } catch (error) {
      return void this.#failAt(
        from.place,
        `failed to open ${line.file} (looked for ${file}): ${(error as Error).message}`,
      );
    }
    const label = relative(this.#request.cwd, file);
    for (const one of logicalLines(text)) {
      const next = { place: `${label}:${one.line}:1`, baseDir: dirname(file), open: [...from.open, file] };
      await this.#pipLine(parsePipLine(one.text), next, into, constraints);
    }
  }

  /** A limit on a package is a requirement of its own line: pip and uv take several for one package. */
  #addConstraints(pip: string[], constraints: readonly string[]): void {
    const nameOf = (text: string): string | null => {
      const line = parsePipLine(text);
      return line.kind === 'requirement' && line.name !== null ? normalName(line.name) : null;
    };
    const asked = new Set(pip.map(nameOf));
    const others = constraints.filter((text) => !asked.has(nameOf(text)));
    pip.push(...constraints);
    if (others.length > 0) {
      const names = others.slice(0, 5).join(', ') + (others.length > 5 ? ' and others' : '');
      this.#request.onNote(`constraints travel as requirements, so these are installed too: ${names}`);
    }
  }

  #fail(path: KeyPath, message: string): null {
    const { source, at } = this.#request;
    return this.#failAt(source.locate([...at, ...path], 'value'), message);
  }

  #failAt(place: string, message: string): null {
    this.#problems.push({ code: 'ENVIRONMENT_INVALID', path: this.#request.at, at: 'value', message, place });
    return null;
  }
}

/** Where a line stands, and which files led to it. */
interface LineFrom {
  readonly place: string;
  readonly baseDir: string;
  readonly open: readonly string[];
}
