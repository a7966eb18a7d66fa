use super::*;
use sha2::{Digest, Sha256};

/// Magnitudes from 1e-60 to 1e30, and around one.
fn sizes() -> impl Iterator<Item = f64> {
    // Without the C library's powers, so that all machines have the same.
    let two_to = |power: u64| f64::from_bits(power << 52);
    let wide = (824..1123).flat_map(move |power| (0..31).map(move |i| two_to(power) * (1.0 + f64::from(i) / 31.0)));
    wide.chain((-5000..5000).map(|i| 1.0 + f64::from(i) * 1e-4))
}

fn near(found: f64, wanted: f64, tolerance: f64, what: &str) {
    assert!((found - wanted).abs() <= tolerance * wanted.abs(), "{what}: {found:e} for {wanted:e}");
}

#[test]
fn exponentials_are_those_of_the_c_library() {
    for i in -70_000..70_000 {
        let x = f64::from(i) * 1e-2;
        near(exp(x), x.exp(), 1e-15, &format!("exp({x})"));
        near(tanh(x), x.tanh(), 1e-15, &format!("tanh({x})"));
        let small = x * 1e-6;
        near(tanh(small), small.tanh(), 1e-15, &format!("tanh({small})"));
    }
    assert_eq!((exp(0.0), exp(1e30), exp(-1e30)), (1.0, exp(700.0), exp(-700.0)));
    assert_eq!((tanh(0.0), tanh(1e30), tanh(-1e30)), (0.0, 1.0, -1.0));
}

#[test]
fn logarithms_are_those_of_the_c_library() {
    for x in sizes() {
        near(ln(x), x.ln(), 1e-15, &format!("ln({x})"));
        near(log2(x), x.log2(), 1e-15, &format!("log2({x})"));
        near(ln_1p(x), x.ln_1p(), 1e-15, &format!("ln_1p({x})"));
    }
    assert_eq!((ln(1.0), log2(1.0), ln_1p(0.0)), (0.0, 0.0, 0.0));
    for i in -199..100 {
        assert_eq!(log2(2f64.powi(i)), f64::from(i));
    }
}

#[test]
fn powers_are_those_of_the_c_library() {
    for x in sizes().step_by(7) {
        for quarters in -64..=64 {
            let y = f64::from(quarters) / 4.0;
            let wanted = x.powf(y);
            if (1e-250..1e250).contains(&wanted) {
                near(power(x, y), wanted, 5e-15, &format!("{x} ** {y}"));
            }
        }
        for y in [0.1, -0.7, 1.0 / 3.0, 2.2, -9.9, 17.0, 31.5, -100.3] {
            let wanted = x.powf(y);
            if (1e-250..1e250).contains(&wanted) {
                near(power(x, y), wanted, 1e-15 + 3e-16 * wanted.ln().abs(), &format!("{x} ** {y}"));
            }
        }
    }
}

#[test]
fn powers_at_their_limits() {
    for y in [0.3, 0.5, 3.0, 17.3] {
        assert_eq!((power(0.0, y), power(0.0, -y)), (0.0, f64::INFINITY));
        assert_eq!((power(1.0, y), power(1.0, -y)), (1.0, 1.0));
    }
    assert_eq!((power(0.0, 0.0), power(1e30, 0.0), power(4.0, 0.5), power(2.0, -2.0)), (1.0, 1.0, 2.0, 0.25));
    assert!(power(1e30, 1e30) > 1e300 && power(1e-30, -1e30) > 1e300);
    assert_eq!((power(1e30, -1e30), power(1e-30, 1e30)), (0.0, 0.0));
}

/// One number alone, and among others in vectors, gives the same bits; and these bits on every machine.
#[test]
fn bits_are_the_same_everywhere() {
    let numbers: Vec<f64> = sizes().collect();
    let exponents: Vec<f64> = (0..numbers.len()).map(|i| (i % 977) as f64 / 100.0 - 4.0).collect();
    let mut raised = numbers.clone();
    powers(&mut raised, &exponents);
    for ((x, y), together) in numbers.iter().zip(&exponents).zip(&raised) {
        assert_eq!(power(*x, *y).to_bits(), together.to_bits(), "{x} ** {y}");
    }
    let mut hash = Sha256::new();
    for x in raised.iter().chain(&numbers) {
        let x = x.clamp(1e-60, 1e30);
        for value in [x, exp(x), exp(-x), ln(x), log2(x), ln_1p(x), tanh(x)] {
            hash.update(value.to_bits().to_le_bytes());
        }
    }
    let digest: String = hash.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect();
    assert_eq!(digest, "18dfd93c749536ae");
}
