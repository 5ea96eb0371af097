"""The catalog: a static site with every dataset, its columns, and the lineage of each column from source to export.

`datasets` derives what contracts and SELECTs say, `loaded` reads what was loaded, `site` writes the files that a
browser opens from disk. `page/` has the shell, its script and style, and dagre, the library that lays graphs out.
"""
