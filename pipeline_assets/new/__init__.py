"""Make a pipeline from a sample file: `pipeline-assets new`.

`sample` reads the file as a run would, `names` turns keys into names of columns, `propose` decides types, key and the
rest, `render` writes the texts of the files, and `create` checks them and puts them into the checkout, all or none.
Nothing else imports this package, and a pipeline that it made does not need it.
"""
