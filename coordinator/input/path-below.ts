/** What a list of inputs may name a file by, against the one that is scored by: its path below the input. */
import { posix } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import { isUri, locationText, parseLocation, type Location } from '../../common/core/location.ts';

/** @returns a path, or what is wrong with the entry, to stand behind it. */
export type PathBelow = (given: string) => { readonly path: string } | { readonly refusal: string };

/** A part that is empty, `.` or `..`. */
const oddPart = /(?:^|\/)\.{0,2}(?:\/|$)/;

/**
 * Entries are relative to `base`, an absolute path or the canonical text of a location, or below it: absolute paths, `file://` and the
 * addresses of stores. Two spellings are of one place when they name the same store and bucket; what only the environment knows, the
 * account of `az://`, makes them different.
 */
export function pathBelow(base: string): PathBelow {
  const folder = placeOf(base);
  const root = folder.path.endsWith('/') || folder.path === '' ? folder.path : `${folder.path}/`;
  return (given) => {
    let path = given;
    if (given.startsWith('/') || isUri(given) || /^file:\/\//i.test(given)) {
      const place = parsed(given, base);
      if ('refusal' in place) return place;
      const isBelow = place.store === folder.store && (place.path.startsWith(root) || `${place.path}/` === root);
      if (!isBelow) return { refusal: `is not below the input folder ${base}; choose --input so that all files are` };
      path = place.path.slice(root.length);
    }
    if (path.includes('\0')) return { refusal: 'has a zero byte' };
    if (path !== '' && !oddPart.test(path)) return { path };
    path = posix.normalize(path).replace(/\/$/, '');
    if (path === '..' || path.startsWith('../')) {
      return { refusal: `leaves the input folder ${base}; choose --input so that all files are below` };
    }
    return path === '.' || path === '' ? { refusal: 'is the input folder itself, wanted a file in it' } : { path };
  };
}

interface Place {
  /** Empty for this machine. */
  readonly store: string;
  readonly path: string;
}

/** @throws LOCATION_INVALID */
function placeOf(text: string): Place {
  return text.startsWith('/') ? { store: '', path: posix.normalize(text) } : split(parseLocation(text));
}

function parsed(given: string, base: string): Place | { readonly refusal: string } {
  if (/^azureml:/i.test(given)) {
    return { refusal: `is a place in a datastore; name it by the store’s own address, or by its path below ${base}` };
  }
  try {
    return placeOf(given);
  } catch (error) {
    if (error instanceof BatchError) return { refusal: `is no place below the input ${base}: ${error.message}` };
    throw error;
  }
}

function split(location: Location): Place {
  switch (location.kind) {
    case 'local':
      return { store: '', path: posix.normalize(location.path) };
    case 'web': {
      const { origin, pathname } = new URL(location.url);
      return { store: origin, path: decodeURIComponent(pathname.slice(1)) };
    }
    case 'azure': {
      const { endpoint, container, key } = location;
      return { store: `${endpoint ?? 'az:'}/${container}`, path: key };
    }
    default:
      return { store: locationText({ ...location, key: '' }), path: location.key };
  }
}
