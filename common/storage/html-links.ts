/** Links of a page, as a web server makes one for a folder. */
import { Parser } from 'htmlparser2';

/** Absolute addresses of all links, in the order of the page. `address` is where the page is. */
export function linksOf(html: string, address: string): readonly URL[] {
  const links: URL[] = [];
  let base = address;
  const add = (href: string | undefined): void => {
    if (href !== undefined && URL.canParse(href, base)) links.push(new URL(href, base));
  };
  const parser = new Parser({
    onopentag: (name, attributes) => {
      const { href } = attributes;
      if (name === 'base' && href !== undefined && URL.canParse(href, address)) base = new URL(href, address).href;
      if (name === 'a') add(href);
    },
  });
  parser.end(html);
  return links;
}

/**
 * What of a folder’s links lies below it, as keys relative to it: `name`, `name/`, or `name/name` for what is linked across a
 * folder. Without doubles; links back, to other servers, and with a query (which sort the page anew) are none.
 */
export function keysBelow(links: readonly URL[], folder: URL): readonly string[] {
  const keys = new Set<string>();
  for (const link of links) {
    if (link.origin !== folder.origin || link.search !== '' || !link.pathname.startsWith(folder.pathname)) continue;
    const key = decodedKey(link.pathname.slice(folder.pathname.length));
    if (key !== null && key !== '') keys.add(key);
  }
  return [...keys];
}

/** Null for a name that is no name in a path: it holds a slash, or is no UTF-8. */
function decodedKey(path: string): string | null {
  try {
    const names = path.split('/').map(decodeURIComponent);
    return names.some((name) => name.includes('/') || name.includes('\0')) ? null : names.join('/');
  } catch {
    return null;
  }
}
