module.exports = {
  mode: 'development',
  entry: './main.js',
  devServer: { static: './public', hot: true },
}
