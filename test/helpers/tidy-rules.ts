/**
 * House rules that a machine can hold: each takes sources and gives what breaks it, as `path:line: what`. Sources are
 * values, so that a test can show each rule a case that it must refuse.
 */
import { posix } from 'node:path';
import ts from 'typescript';

export interface Source {
  /** Relative to the repository root, forward slashes. */
  readonly path: string;
  readonly text: string;
}

interface Import {
  readonly specifier: string;
  /** Path of the file meant; null for packages and Node's own modules. */
  readonly target: string | null;
  readonly isTypeOnly: boolean;
  /** `import()` runs later, so it closes no cycle. */
  readonly isDynamic: boolean;
  readonly line: number;
}

interface Parsed {
  readonly path: string;
  readonly tree: ts.SourceFile;
  readonly imports: readonly Import[];
}

export type Rule = (sources: readonly Source[]) => readonly string[];

/** Each floor, and those that it may import beside itself. */
const floors: Readonly<Record<string, readonly string[]>> = {
  cli: ['coordinator', 'worker', 'common'],
  coordinator: ['common'],
  worker: ['common'],
  common: [],
};

/** cli → coordinator, worker (never each other) → common. */
export const floorViolations: Rule = (sources) =>
  sources.map(parse).flatMap(({ path, imports }) => {
    const floor = path.split('/')[0] ?? '';
    const allowed = [floor, ...(floors[floor] ?? [])];
    return imports
      .filter(({ target }) => target !== null && !allowed.includes(target.split('/')[0] ?? ''))
      .map(({ line, target }) => `${path}:${line}: ${floor} may not import ${target ?? ''}`);
  });

/** What belongs to the outside world: a clock, chance, the process, waiting. */
const impureGlobals = new Set(
  'process performance console crypto fetch Buffer setTimeout setInterval setImmediate queueMicrotask require'.split(
    ' ',
  ),
);

/** Files below a folder called core/ import other cores only, never wait, and know nothing of the machine. */
export const purityViolations: Rule = (sources) =>
  sources
    .map(parse)
    .filter(({ path }) => isCore(path))
    .flatMap(({ path, imports, tree }) => [
      ...imports
        .filter(({ target }) => target === null || !isCore(target))
        .map(({ line, specifier }) => `${path}:${line}: a core may not import ${specifier}`),
      ...impureUses(tree).map(({ line, what }) => `${path}:${line}: a core may not use ${what}`),
    ]);

/** Value imports that lead back to where they began. Types are gone before anything runs. */
export const cycleViolations: Rule = (sources) => {
  const graph = new Map(sources.map(parse).map(({ path, imports }) => [path, loadedBy(imports)]));
  const done = new Set<string>();
  const found: string[] = [];
  const visit = (path: string, trail: readonly string[]): void => {
    const at = trail.indexOf(path);
    if (at >= 0) found.push([...trail.slice(at), path].join(' -> '));
    if (at >= 0 || done.has(path)) return;
    for (const next of graph.get(path) ?? []) visit(next, [...trail, path]);
    done.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
  return found;
};

/** `any` in any place where a type may stand. */
export const anyViolations: Rule = (sources) =>
  nodesOf(sources, (node) => (node.kind === ts.SyntaxKind.AnyKeyword ? 'any' : null));

/** A default export has no name of its own. */
export const defaultExportViolations: Rule = (sources) =>
  nodesOf(sources, (node) => {
    if (ts.isExportAssignment(node)) return 'default export';
    const isDefault = ts.canHaveModifiers(node) && hasModifier(node, ts.SyntaxKind.DefaultKeyword);
    const isNamedDefault = ts.isExportSpecifier(node) && node.name.text === 'default';
    return isDefault || isNamedDefault ? 'default export' : null;
  });

/** A file that only passes on what others export. */
export const barrelViolations: Rule = (sources) =>
  sources
    .map(parse)
    .filter(({ tree }) => tree.statements.length > 0)
    .filter(({ tree }) =>
      tree.statements.every((one) => ts.isExportDeclaration(one) && one.moduleSpecifier !== undefined),
    )
    .map(({ path }) => `${path}:1: a file that only re-exports`);

/** Kebab-case, and no drawer for what has no place. */
export const nameViolations: Rule = (sources) =>
  sources
    .map(({ path }) => path)
    .filter(
      (path) => !/^([a-z0-9]+(-[a-z0-9]+)*\/)*[a-z0-9]+(-[a-z0-9]+)*(\.d)?\.ts$/.test(path) || /\butils?\b/.test(path),
    )
    .map((path) => `${path}:1: names are kebab-case, and none is utils`);

/** Clocks and chance are read in common/io only. */
export const clockViolations: Rule = (sources) =>
  nodesOf(
    sources.filter(({ path }) => !path.startsWith('common/io/')),
    clockUse,
  );

/**
 * Files of common/config may read the environment, and those that run in a scoring host, whose whole environment was
 * made for it.
 */
const environmentReaders = ['common/config/', 'worker/scorers/node-host.ts', 'worker/scorers/script-module.ts'];

export const environmentViolations: Rule = (sources) =>
  nodesOf(
    sources.filter(({ path }) => !environmentReaders.some((reader) => path.startsWith(reader))),
    (node) => (isMember(node, 'process', ['env']) || isEnvironmentPick(node) ? 'process.env' : null),
  );

/** Every rule looks at every file; parsing is what takes the time. */
const parsed = new WeakMap<Source, Parsed>();

function parse(source: Source): Parsed {
  const known = parsed.get(source) ?? parseAnew(source);
  parsed.set(source, known);
  return known;
}

function parseAnew(source: Source): Parsed {
  const tree = ts.createSourceFile(source.path, source.text, ts.ScriptTarget.ES2023, true);
  const imports: Import[] = [];
  walk(tree, (node) => {
    const found = importOf(node);
    if (!found) return;
    const { text } = found.specifier;
    const target = text.startsWith('.') ? posix.normalize(posix.join(posix.dirname(source.path), text)) : null;
    imports.push({ ...found, specifier: text, target, line: lineOf(tree, node) });
  });
  return { path: source.path, tree, imports };
}

interface FoundImport {
  readonly specifier: ts.StringLiteralLike;
  readonly isTypeOnly: boolean;
  readonly isDynamic: boolean;
}

function importOf(node: ts.Node): FoundImport | null {
  if (ts.isImportDeclaration(node) && ts.isStringLiteralLike(node.moduleSpecifier)) {
    const isTypeOnly = node.importClause?.isTypeOnly === true;
    return { specifier: node.moduleSpecifier, isTypeOnly, isDynamic: false };
  }
  if (ts.isExportDeclaration(node) && node.moduleSpecifier && ts.isStringLiteralLike(node.moduleSpecifier)) {
    return { specifier: node.moduleSpecifier, isTypeOnly: node.isTypeOnly, isDynamic: false };
  }
  if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument) && ts.isStringLiteral(node.argument.literal)) {
    return { specifier: node.argument.literal, isTypeOnly: true, isDynamic: false };
  }
  if (!ts.isCallExpression(node) || node.expression.kind !== ts.SyntaxKind.ImportKeyword) return null;
  const [argument] = node.arguments;
  return argument && ts.isStringLiteralLike(argument)
    ? { specifier: argument, isTypeOnly: false, isDynamic: true }
    : null;
}

function loadedBy(imports: readonly Import[]): readonly string[] {
  return imports.flatMap(({ target, isTypeOnly, isDynamic }) =>
    target === null || isTypeOnly || isDynamic ? [] : [target],
  );
}

function isCore(path: string): boolean {
  return path.split('/').slice(0, -1).includes('core');
}

interface Use {
  readonly line: number;
  readonly what: string;
}

function impureUses(tree: ts.SourceFile): readonly Use[] {
  const declared = declaredNames(tree);
  const uses: Use[] = [];
  walk(tree, (node) => {
    const what = impureUse(node, declared);
    if (what !== null) uses.push({ line: lineOf(tree, node), what });
  });
  return uses;
}

function impureUse(node: ts.Node, declared: ReadonlySet<string>): string | null {
  if (ts.isAwaitExpression(node) || (ts.isForOfStatement(node) && node.awaitModifier)) return 'await';
  if (ts.canHaveModifiers(node) && hasModifier(node, ts.SyntaxKind.AsyncKeyword)) return 'async';
  if (ts.isIdentifier(node) && impureGlobals.has(node.text) && !declared.has(node.text) && isFree(node))
    return node.text;
  return clockUse(node);
}

/** Not the `x` of `a.x`, `{ x: 1 }` or a type's member. */
function isFree(node: ts.Identifier): boolean {
  const { parent } = node;
  if (ts.isPropertyAccessExpression(parent)) return parent.expression === node;
  const isName = 'name' in parent && parent.name === node;
  return !isName || ts.isShorthandPropertyAssignment(parent);
}

function declaredNames(tree: ts.SourceFile): ReadonlySet<string> {
  const names = new Set<string>();
  walk(tree, (node) => {
    const isDeclaration =
      ts.isVariableDeclaration(node) ||
      ts.isParameter(node) ||
      ts.isBindingElement(node) ||
      ts.isFunctionDeclaration(node) ||
      ts.isImportSpecifier(node);
    if (isDeclaration && node.name && ts.isIdentifier(node.name)) names.add(node.name.text);
  });
  return names;
}

function clockUse(node: ts.Node): string | null {
  if (isMember(node, 'Date', ['now'])) return 'Date.now';
  if (isMember(node, 'Math', ['random'])) return 'Math.random';
  if (isMember(node, 'performance', ['now', 'timeOrigin'])) return 'performance';
  if (isMember(node, 'process', ['hrtime', 'uptime'])) return 'process.hrtime';
  const isDate = ts.isNewExpression(node) && ts.isIdentifier(node.expression) && node.expression.text === 'Date';
  return isDate && (node.arguments?.length ?? 0) === 0 ? 'new Date()' : null;
}

/** `owner.name`, `owner['name']`, and either behind `globalThis`. */
function isMember(node: ts.Node, owner: string, names: readonly string[]): boolean {
  const isAccess = ts.isPropertyAccessExpression(node) || ts.isElementAccessExpression(node);
  if (!isAccess) return false;
  const name = ts.isPropertyAccessExpression(node) ? node.name : node.argumentExpression;
  const holder = ts.isPropertyAccessExpression(node.expression) ? node.expression.name : node.expression;
  if (!ts.isIdentifier(holder) || holder.text !== owner) return false;
  return (ts.isIdentifier(name) || ts.isStringLiteralLike(name)) && names.includes(name.text);
}

/** `const { env } = process` and `import { env } from 'node:process'`. */
function isEnvironmentPick(node: ts.Node): boolean {
  if (ts.isBindingElement(node)) {
    const name = node.propertyName ?? node.name;
    const { parent } = node.parent;
    const from = ts.isVariableDeclaration(parent) ? parent.initializer : undefined;
    return ts.isIdentifier(name) && name.text === 'env' && from?.getText() === 'process';
  }
  if (!ts.isImportSpecifier(node) || (node.propertyName ?? node.name).text !== 'env') return false;
  const declaration = node.parent.parent.parent;
  return ts.isStringLiteral(declaration.moduleSpecifier) && /^(node:)?process$/.test(declaration.moduleSpecifier.text);
}

function hasModifier(node: ts.HasModifiers, kind: ts.SyntaxKind): boolean {
  return ts.getModifiers(node)?.some((modifier) => modifier.kind === kind) === true;
}

function nodesOf(sources: readonly Source[], judge: (node: ts.Node) => string | null): readonly string[] {
  return sources.map(parse).flatMap(({ path, tree }) => {
    const found: string[] = [];
    walk(tree, (node) => {
      const what = judge(node);
      if (what !== null) found.push(`${path}:${lineOf(tree, node)}: ${what}`);
    });
    return found;
  });
}

function walk(node: ts.Node, visit: (node: ts.Node) => void): void {
  visit(node);
  ts.forEachChild(node, (child) => walk(child, visit));
}

function lineOf(tree: ts.SourceFile, node: ts.Node): number {
  return tree.getLineAndCharacterOfPosition(node.getStart(tree)).line + 1;
}
