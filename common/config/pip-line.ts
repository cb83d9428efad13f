/** One line of a list of pip requirements: what it asks for, and whether it points to something on this disk. */

export type PipLine =
  /** Goes into the environment as it is. */
  | { readonly kind: 'requirement'; readonly text: string; readonly name: string | null }
  /** Another list: its lines take the place of this one. */
  | { readonly kind: 'include'; readonly file: string; readonly isConstraint: boolean }
  /** Points to something that a worker node does not have. */
  | { readonly kind: 'local'; readonly text: string }
  | { readonly kind: 'nothing' };

/** Options whose value may be a folder. */
const placeOptions = ['-f', '--find-links', '-i', '--index-url', '--extra-index-url'];

/** @source pip's requirements file format */
export function parsePipLine(line: string): PipLine {
  const text = line.replace(/(^|\s)#.*$/, '').trim();
  if (text === '') return { kind: 'nothing' };
  const [word = ''] = /^--?[a-z-]+?(?=[=\s]|$)|^-[rcef](?=\S)/i.exec(text) ?? [];
  if (word === '') return plainLine(text);
  const value = text.slice(word.length).replace(/^[=\s]+/, '');
  switch (word) {
    case '-r':
    case '--requirement':
      return { kind: 'include', file: unquoted(value), isConstraint: false };
    case '-c':
    case '--constraint':
      return { kind: 'include', file: unquoted(value), isConstraint: true };
    case '-e':
    case '--editable':
      return { kind: 'local', text };
    default:
      if (placeOptions.includes(word) && !isRemote(unquoted(value))) return { kind: 'local', text };
      return { kind: 'requirement', text, name: null };
  }
}

function plainLine(text: string): PipLine {
  const [, name = null] = /^([a-z0-9][a-z0-9._-]*)/i.exec(text) ?? [];
  const [, target] = /^[a-z0-9][a-z0-9._-]*\s*(?:\[[^\]]*\])?\s*@\s*(\S+)/i.exec(text) ?? [];
  const place = target ?? text.split(/[\s;]/)[0] ?? text;
  if (target !== undefined || /[/\\]/.test(place.replace(/\[[^\]]*\]/, ''))) {
    return isRemote(place) ? { kind: 'requirement', text, name } : { kind: 'local', text };
  }
  if (/^\.|\.(whl|zip|tar\.gz|tar\.bz2|tgz)$/i.test(place)) return { kind: 'local', text };
  return { kind: 'requirement', text, name };
}

/** What a problem with `line` says. */
export function localText(line: string): string {
  return `${line} points to this disk, where worker nodes do not look: publish the package, or put it into the code folder and import it from there`;
}

function isRemote(place: string): boolean {
  return /^(?:[a-z]+\+)?(?:https?|ssh|git|s3|gs):\/\//i.test(place) || /^git\+ssh:/i.test(place) || /^\$\{/.test(place);
}

function unquoted(text: string): string {
  return text.replace(/^(["'])(.*)\1$/, '$2');
}

/** A name as pip compares it. @source PEP 503 */
export function normalName(name: string): string {
  return name.toLowerCase().replaceAll(/[-_.]+/g, '-');
}

/** Logical lines of a requirements file: those that end in a backslash go on in the next. */
export function logicalLines(text: string): readonly { readonly line: number; readonly text: string }[] {
  const lines: { line: number; text: string }[] = [];
  let open: { line: number; text: string } | null = null;
  for (const [index, raw] of text
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .entries()) {
    const isComment = /^\s*#/.test(raw);
    const joined: { line: number; text: string } =
      open === null
        ? { line: index + 1, text: raw }
        : { line: open.line, text: `${open.text} ${isComment ? '' : raw.trim()}` };
    open = null;
    if (joined.text.endsWith('\\') && !isComment)
      open = { line: joined.line, text: joined.text.slice(0, -1).trimEnd() };
    else lines.push(joined);
  }
  if (open !== null) lines.push(open);
  return lines;
}
