// Everything in files of hashed names, nothing inline: the page's Content-Security-Policy allows no other.
export default {
  base: './',
  build: { target: 'es2022', assetsInlineLimit: 0, modulePreload: false, reportCompressedSize: false },
}
