//! A column of numbers: for the network, by layer, by width, or by both, stored once.

/// What a column varies with, in a table of so many layers and widths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dims {
    pub by_layer: bool,
    pub by_width: bool,
    pub layers: usize,
    pub widths: usize,
}

impl Dims {
    /// Numbers a width.
    pub fn stride(self) -> usize {
        if self.by_layer { self.layers } else { 1 }
    }

    pub fn len(self) -> usize {
        self.stride() * if self.by_width { self.widths } else { 1 }
    }

    /// What a result of two columns varies with.
    pub fn and(self, other: Dims) -> Dims {
        Dims { by_layer: self.by_layer || other.by_layer, by_width: self.by_width || other.by_width, ..self }
    }
}

/// Values, all layers of the first width first.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column<T = f64> {
    pub dims: Dims,
    pub values: Vec<T>,
}

impl<T: Clone> Column<T> {
    pub fn filled(dims: Dims, value: T) -> Column<T> {
        Column { dims, values: vec![value; dims.len()] }
    }

    /// The numbers at one width: one, or one a layer.
    pub fn row(&self, width: usize) -> &[T] {
        let at = if self.dims.by_width { width * self.dims.stride() } else { 0 };
        self.values.get(at..at + self.dims.stride()).unwrap_or(&[])
    }

    /// The number of one layer at one width.
    pub fn get(&self, layer: usize, width: usize) -> Option<&T> {
        self.row(width).get(if self.dims.by_layer { layer } else { 0 })
    }

    /// Updates every value by the value of `arg` for the same layer and width; `arg` varies with no more than this.
    pub fn update(&mut self, arg: &Column, mut change: impl FnMut(&mut T, f64)) {
        for (width, row) in self.values.chunks_mut(self.dims.stride().max(1)).enumerate() {
            match (arg.dims.by_layer, arg.row(width)) {
                (false, [x]) => row.iter_mut().for_each(|value| change(value, *x)),
                (_, xs) => row.iter_mut().zip(xs).for_each(|(value, x)| change(value, *x)),
            }
        }
    }

    pub fn map(self, f: impl FnMut(T) -> f64) -> Column {
        Column { dims: self.dims, values: self.values.into_iter().map(f).collect() }
    }
}
