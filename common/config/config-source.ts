/**
 * A YAML document that knows where each of its values came from, with `--set` values laid over it. Validation happens
 * elsewhere and asks here for the place that a message should name.
 */
import {
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  Scalar,
  YAMLMap,
  type Document,
  type Node,
  type YAMLParseError,
} from 'yaml';
import { BatchError } from '../core/batch-error.ts';

/** Keys from the root down to a value; the items of a list have their index as key. */
export type KeyPath = readonly string[];

/** One thing that is wrong, at one place. */
export interface ConfigProblem {
  readonly code:
    | 'CONFIG_INVALID'
    | 'CONFIG_UNKNOWN_KEY'
    | 'DEPLOYMENT_NOT_FOUND'
    | 'DEPLOYMENT_INVALID'
    | 'ENVIRONMENT_INVALID'
    | 'SCRIPT_INVALID';
  readonly path: KeyPath;
  /** Whether the key itself or its value is at fault. */
  readonly at: 'key' | 'value';
  readonly message: string;
  /** `conda.yaml:4:5`, for what is wrong in a file that this one names; null or absent: `path` says where. */
  readonly place?: string | null;
}

interface Override {
  readonly path: KeyPath;
  /** What the user typed, as messages repeat it. */
  readonly origin: string;
}

export class ConfigSource {
  /** How messages call the file. */
  readonly label: string;
  readonly #document: Document;
  readonly #lines: LineCounter;
  readonly #overrides: Override[] = [];

  /** @throws CONFIG_INVALID for text that is not YAML, or is not a mapping */
  constructor(text: string, label: string) {
    this.label = label;
    // Every other byte of ASCII text in UTF-16 is zero.
    if (text.slice(0, 8).includes('\0')) {
      const message = `${label}:1:1: wanted UTF-8 text, found what looks like UTF-16, as PowerShell writes it; save the file as UTF-8`;
      throw new BatchError('CONFIG_INVALID', message);
    }
    this.#lines = new LineCounter();
    this.#document = parseDocument(text, { lineCounter: this.#lines, prettyErrors: false });
    const errors = this.#document.errors.map((error) => `${this.#position(error.pos[0])}: ${yamlReason(error, text)}`);
    if (errors.length > 0) throw new BatchError('CONFIG_INVALID', errors.join('\n'));
    const { contents } = this.#document;
    if (contents === null) this.#document.contents = new YAMLMap(this.#document.schema);
    else if (!isMap(contents)) {
      throw new BatchError('CONFIG_INVALID', `${label}:1:1: wanted keys and values, found ${kindOf(this.toJs())}`);
    }
  }

  /** Lays `value` over the document at `path`; messages about it name `origin`. @throws CONFIG_INVALID when the path leads through a value */
  override(path: KeyPath, value: string, origin: string): void {
    const node = valueNode(value, origin);
    for (let depth = 1; depth < path.length; depth += 1) this.#openMap(path.slice(0, depth), origin);
    this.#document.setIn(path, node);
    this.#overrides.push({ path, origin });
  }

  /** Plain values, not yet validated. An empty document is an empty object. */
  toJs(): unknown {
    try {
      return this.#document.toJS() ?? {};
    } catch (error) {
      // The library refuses documents whose aliases multiply beyond reason.
      throw new BatchError('CONFIG_INVALID', `${this.label}: ${(error as Error).message}`, { cause: error });
    }
  }

  /** The scalar at `path` as it was typed (`1.10`, `True`), or null when there is none. */
  textAt(path: KeyPath): string | null {
    const node = this.#find(path)?.value;
    if (!isScalar(node) || node.value === null) return null;
    return typeof node.value === 'string' ? node.value : (node.source ?? String(node.value));
  }

  /** `deployment.yml:4:3`, the `--set` that brought the value, or the file alone for what is not there. */
  locate(path: KeyPath, at: 'key' | 'value'): string {
    const override = this.#overrides.findLast((one) => one.path.every((key, i) => path[i] === key));
    if (override) return override.origin;
    const found = this.#find(path);
    const node = at === 'key' || !found?.value?.range ? found?.key : found.value;
    return node?.range ? this.#position(node.range[0]) : this.label;
  }

  /** All problems as one error; its code is that of the problems when they agree, otherwise CONFIG_INVALID. */
  toError(problems: readonly ConfigProblem[]): BatchError {
    const lines = problems.map((one) => `${one.place ?? this.locate(one.path, one.at)}: ${one.message}`);
    const codes = new Set(problems.map((one) => one.code));
    const code = codes.size === 1 ? (problems[0] as ConfigProblem).code : 'CONFIG_INVALID';
    const text = lines.length === 1 ? lines.join() : `${lines.length} problems:\n${lines.join('\n')}`;
    return new BatchError(code, text);
  }

  /** Makes sure that a mapping stands at `path`: `settings:` with nothing after it counts as one. */
  #openMap(path: KeyPath, origin: string): void {
    const node = this.#find(path)?.value ?? null;
    const isEmpty = node === null || (isScalar(node) && node.value === null);
    // A node of our own: the library would build one by value and forget how the scalar below was typed.
    if (isEmpty) this.#document.setIn(path, new YAMLMap(this.#document.schema));
    else if (!isMap(node)) {
      const found = kindOf(node.toJS(this.#document));
      throw new BatchError('CONFIG_INVALID', `${origin}: ${path.join('.')} is ${found} and has no keys below it`);
    }
  }

  #find(path: KeyPath): { readonly key: Node | null; readonly value: Node | null } | null {
    let value: Node | null = this.#document.contents;
    let key: Node | null = null;
    for (const name of path) {
      if (isSeq(value)) {
        const item: unknown = value.items[Number(name)];
        [key, value] = [null, isAlias(item) ? (item.resolve(this.#document) ?? null) : isNode(item) ? item : null];
        continue;
      }
      if (!isMap(value)) return null;
      const pair = value.items.find((one) => String(isScalar(one.key) ? one.key.value : one.key) === name);
      if (!pair) return null;
      key = isNode(pair.key) ? pair.key : null;
      value = isAlias(pair.value)
        ? (pair.value.resolve(this.#document) ?? null)
        : isNode(pair.value)
          ? pair.value
          : null;
    }
    return { key, value };
  }

  #position(offset: number): string {
    const { line, col } = this.#lines.linePos(offset);
    return `${this.label}:${line}:${col}`;
  }
}

/**
 * What `text` after `key=` means: a number, a truth value, a quoted text, `{…}` or `[…]` as YAML has them; anything else is
 * text as it stands, so that `a: b`, `x # y` and `*` need no quotes.
 */
function valueNode(text: string, origin: string): Node {
  const { contents, errors } = parseDocument(text, { prettyErrors: false });
  const isCollection = /^\s*[[{]/.test(text);
  const [error] = errors;
  if (error && isCollection)
    throw new BatchError('CONFIG_INVALID', `${origin}: the value is not YAML: ${error.message}`);
  if (isCollection && contents) return contents;
  const isQuoted = isScalar(contents) && (contents.type === 'QUOTE_DOUBLE' || contents.type === 'QUOTE_SINGLE');
  const isPlain = isScalar(contents) && contents.source === text.trim();
  return !error && (isQuoted || isPlain) ? contents : new Scalar(text === '' ? null : text);
}

/** What is wrong with the YAML; the parser's own words speak to programmers where they name its functions, or leave out the key. */
function yamlReason(error: YAMLParseError, text: string): string {
  if (error.code === 'MULTIPLE_DOCS')
    return 'a second document begins here, and one is wanted; remove what follows ---';
  if (error.code !== 'DUPLICATE_KEY') return error.message;
  const key = /^[^\s:]+/.exec(text.slice(error.pos[0]))?.[0] ?? 'this key';
  return `${key} is given twice in the same mapping; remove one of them`;
}

/** A value as a message shows what was found. */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a mapping';
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 57)}…"` : text;
}
