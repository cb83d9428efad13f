/** The folders of a simulated disk: the names that readers see, those that are on the disk, and what stands between them. */
import { FileContent, type Tell } from './disk-file.ts';
import type { Random } from './world.ts';

/** What Node throws for `code`. */
export function systemError(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: simulated, '${path}'`), { code });
}

type Entry = FileContent | Folder;

class Folder {
  readonly parent: Folder | null;
  readonly name: string;
  names = new Map<string, Entry>();
  readonly durable = new Map<string, Entry>();
  /** Since the last sync, the oldest first. */
  changes: NameChange[] = [];

  constructor(parent: Folder | null, name: string) {
    this.parent = parent;
    this.name = name;
  }
}

interface Place {
  readonly folder: Folder;
  readonly name: string;
}

interface NameChange extends Place {
  readonly number: number;
  /** What has the name now; null: it was removed. */
  readonly now: Entry | null;
  /** Of a removal: what had the name. */
  readonly was: Entry | null;
  /** Of a rename: the name it had before. It is one change of both folders. */
  readonly from: Place | null;
  isDurable: boolean;
}

export class DiskNames {
  readonly #root = new Folder(null, '');
  /** Those that readers see, by path. */
  readonly #folders = new Map<string, Folder>([['/', this.#root]]);
  /** With changes that are not durable. */
  readonly #changed = new Set<Folder>();
  /** Told of the bytes of a file whose last name goes. */
  readonly #onFreed: (bytes: number) => void;
  #lastNumber = 0;

  constructor(onFreed: (bytes: number) => void) {
    this.#onFreed = onFreed;
  }

  /** Of the last change: a sync that begins now covers what has come so far. */
  get mark(): number {
    return this.#lastNumber;
  }

  /** Null when there is none. @throws EISDIR */
  file(path: string): FileContent | null {
    const [folder, name] = this.#split(path);
    const found = folder?.names.get(name);
    if (found instanceof Folder || path === '/') throw systemError('EISDIR', path);
    return found ?? null;
  }

  create(path: string): FileContent {
    const [folder, name] = this.#place(path);
    const file = new FileContent();
    this.#set(folder, name, file, null);
    return file;
  }

  /** With those above it. */
  makeDir(path: string): Folder {
    const known = this.#folders.get(path);
    if (known) return known;
    const cut = path.lastIndexOf('/');
    const parent = this.makeDir(cut <= 0 ? '/' : path.slice(0, cut));
    const name = path.slice(cut + 1);
    if (parent.names.has(name)) throw systemError('EEXIST', path);
    const folder = new Folder(parent, name);
    this.#folders.set(path, folder);
    this.#set(parent, name, folder, null);
    return folder;
  }

  /** Of files only. */
  rename(from: string, to: string): void {
    const file = this.#existing(from);
    const [fromFolder, fromName] = this.#place(from);
    const [folder, name] = this.#place(to);
    const replaced = this.file(to);
    if (replaced === file) return;
    fromFolder.names.delete(fromName);
    file.links -= 1;
    this.#set(folder, name, file, { folder: fromFolder, name: fromName });
  }

  link(from: string, to: string): void {
    const file = this.#existing(from);
    const [folder, name] = this.#place(to);
    if (folder.names.has(name)) throw systemError('EEXIST', to);
    this.#set(folder, name, file, null);
  }

  remove(path: string): void {
    const file = this.file(path);
    if (file) this.#drop(path, file);
  }

  removeDir(path: string): void {
    const folder = this.#folders.get(path);
    if (!folder && this.file(path)) throw systemError('ENOTDIR', path);
    if (!folder?.parent || folder.names.size > 0) return;
    this.#folders.delete(path);
    this.#drop(path, folder);
  }

  list(path: string): readonly string[] {
    return [...this.folder(path).names.keys()];
  }

  /** @throws ENOENT, ENOTDIR */
  folder(path: string): Folder {
    const folder = this.#folders.get(path);
    if (folder) return folder;
    const isFile = this.#split(path)[0]?.names.has(this.#split(path)[1]) === true;
    throw systemError(isFile ? 'ENOTDIR' : 'ENOENT', path);
  }

  /** Makes what has changed in the folder up to `mark` durable, and the folder itself with those above it. */
  sync(folder: Folder, mark: number): void {
    const later: NameChange[] = [];
    for (const change of folder.changes) {
      if (change.number > mark) later.push(change);
      else settle(change);
    }
    folder.changes = later;
    if (later.length === 0) this.#changed.delete(folder);
    entrench(folder);
  }

  /** By somebody else, who also syncs. */
  removeDurably(path: string): void {
    if (!this.file(path)) return;
    this.remove(path);
    this.sync(this.#place(path)[0], this.#lastNumber);
  }

  powerCut(random: Random, tell: Tell): void {
    const open = [...this.#changed].flatMap(({ changes }) => changes).filter(({ isDurable }) => !isDurable);
    const changes = [...new Set(open)].sort((a, b) => a.number - b.number);
    // What a journal of the file system leaves is everything up to some moment; POSIX promises less.
    const mood = random.next();
    const kept = random.between(0, changes.length);
    for (const [index, change] of changes.entries()) {
      const isKept = mood < 0.4 ? index < kept : random.chance(0.5);
      // What is in a folder that is lost, or gone, goes with it.
      if (!isReachable(change.folder)) continue;
      if (isKept) apply(change);
      else tell(lossOf(change));
    }
    this.#folders.clear();
    this.#changed.clear();
    this.#restore(this.#root, '/', new Set());
  }

  *files(): Generator<readonly [path: string, file: FileContent]> {
    for (const [path, { names }] of this.#folders) {
      for (const [name, entry] of names) {
        if (entry instanceof FileContent) yield [path === '/' ? `/${name}` : `${path}/${name}`, entry];
      }
    }
  }

  #restore(folder: Folder, path: string, seen: Set<FileContent>): void {
    this.#folders.set(path, folder);
    folder.changes = [];
    folder.names = new Map(folder.durable);
    for (const [name, entry] of folder.names) {
      if (entry instanceof Folder) this.#restore(entry, path === '/' ? `/${name}` : `${path}/${name}`, seen);
      else {
        entry.links = seen.has(entry) ? entry.links + 1 : 1;
        seen.add(entry);
      }
    }
  }

  #set(folder: Folder, name: string, entry: Entry, from: Place | null): void {
    const replaced = folder.names.get(name);
    if (replaced instanceof FileContent) this.#unlink(replaced);
    folder.names.set(name, entry);
    if (entry instanceof FileContent) entry.links += 1;
    this.#note({ folder, name, now: entry, was: null, from });
  }

  #drop(path: string, entry: Entry): void {
    const [folder, name] = this.#place(path);
    folder.names.delete(name);
    if (entry instanceof FileContent) this.#unlink(entry);
    this.#note({ folder, name, now: null, was: entry, from: null });
  }

  #unlink(file: FileContent): void {
    file.links -= 1;
    if (file.links === 0) this.#onFreed(file.size);
  }

  #note(what: Omit<NameChange, 'number' | 'isDurable'>): void {
    this.#lastNumber += 1;
    const change = { ...what, number: this.#lastNumber, isDurable: false };
    for (const folder of new Set([change.folder, change.from?.folder ?? change.folder])) {
      folder.changes.push(change);
      this.#changed.add(folder);
    }
  }

  #existing(path: string): FileContent {
    const file = this.file(path);
    if (!file) throw systemError('ENOENT', path);
    return file;
  }

  #place(path: string): readonly [folder: Folder, name: string] {
    const [folder, name] = this.#split(path);
    if (!folder) throw systemError('ENOENT', path);
    return [folder, name];
  }

  #split(path: string): readonly [folder: Folder | undefined, name: string] {
    const cut = path.lastIndexOf('/');
    return [this.#folders.get(cut <= 0 ? '/' : path.slice(0, cut)), path.slice(cut + 1)];
  }
}

function apply(change: NameChange): void {
  change.isDurable = true;
  const { folder, name, now, was, from } = change;
  if (now) folder.durable.set(name, now);
  else if (folder.durable.get(name) === was) folder.durable.delete(name);
  if (!from) return;
  if (from.folder.durable.get(from.name) === now) from.folder.durable.delete(from.name);
  // The other folder's sync may have brought it here.
  entrench(folder);
}

/**
 * Makes a change durable. A rename may be so while others of its two folders are not: then those before it of the same names
 * come first, so that none of them undoes it later.
 */
function settle(change: NameChange): void {
  if (change.isDurable) return;
  const { number, folder, name, from } = change;
  for (const place of from ? [{ folder, name }, from] : []) {
    for (const other of place.folder.changes) {
      if (other.number < number && (isAt(other, place) || isAt(other.from, place))) settle(other);
    }
  }
  apply(change);
}

function isAt(one: Place | null, { folder, name }: Place): boolean {
  return one?.folder === folder && one.name === name;
}

/** The folder and those above it are durable, and so is whatever had its name before and went. */
function entrench(folder: Folder): void {
  const { parent, name } = folder;
  if (!parent) return;
  if (parent.names.get(name) === folder && parent.durable.get(name) !== folder) {
    const place = { folder: parent, name };
    for (const change of parent.changes) if (isAt(change, place) || isAt(change.from, place)) settle(change);
  }
  entrench(parent);
}

function isReachable(folder: Folder): boolean {
  const { parent, name } = folder;
  return parent === null || (parent.durable.get(name) === folder && isReachable(parent));
}

function lossOf({
  now,
  from,
}: NameChange): 'lost name' | 'lost folder' | 'lost removal' | 'rename without its folder sync' {
  if (from) return 'rename without its folder sync';
  if (now === null) return 'lost removal';
  return now instanceof Folder ? 'lost folder' : 'lost name';
}
